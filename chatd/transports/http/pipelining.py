"""Pipelining (RFC 9112, section 9.3.2): what a client sends behind a request that is being handled
is kept for later, within bounds."""

from __future__ import annotations

from typing import Any

from twisted.web.http import HTTPChannel

#: Bytes that are kept before reading stops until the request is done. One more read from the socket
#: may be under way.
AHEAD = 16 * 1024
#: Pieces of them that are kept separately, at most.
PIECES = 64


class PipelinedChannel(HTTPChannel):
    """Stops reading from a client that is too far ahead, whether it reads its answer or not.

    twisted.web's own method goes on reading while the transport waits for the client, and adds up
    all pieces for each further one."""

    site: Any
    transport: Any
    requests: list[Any]
    #: Bytes of an answer that are buffered when the transport pauses.
    holds: int
    _dataBuffer: list[bytes]
    _handlingRequest: bool
    _networkProducer: Any
    _waitingForTransport: bool

    def rawDataReceived(self, data: bytes) -> None:
        if not self._handlingRequest:
            super().rawDataReceived(data)
        elif self.requests:
            self._dataBuffer.append(data)
            if len(self._dataBuffer) > PIECES:
                self._dataBuffer = [b"".join(self._dataBuffer)]
            if self._ahead() > AHEAD:
                self._networkProducer.pauseProducing()  # until the request is done
            if self._waitingForTransport:
                self.hold()
        # else the connection ends, and over TLS only when the client has said so, too

    def _ahead(self) -> int:
        return sum(map(len, self._dataBuffer))

    def hold(self) -> None:
        """Count what is buffered for, and from, a client that does not read."""
        self.site.admission.unread.hold(self.transport, self.holds + self._ahead())

    def loseConnection(self) -> None:
        """End the connection when all is sent: no request follows."""
        self._dataBuffer = []
        self._networkProducer.resumeProducing()  # over TLS the client's close_notify must be read
        super().loseConnection()
