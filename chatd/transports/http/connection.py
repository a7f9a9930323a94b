"""One HTTP connection, with bounds on its buffers and on its time.

twisted.web's own channel has a timer for each connection, waits for ever for a request that comes
a byte at a time, answers pipelined requests of a client that does not read, and parses a body
before the head was checked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.net.tcp import forget_unsent, tune
from chatd.protocol.errors import ChatError, Code
from chatd.transports.http.deadline import ReadingDeadline
from chatd.transports.http.head import NO_TLS, BadHead, asks_to_close, check_host, is_tls
from chatd.transports.http.line import Line
from chatd.transports.http.phase import Phase
from chatd.transports.http.strict import StrictHTTP

#: Seconds within which a request must be complete, from its first byte, or from the connection's
#: beginning.
REQUEST = 30.0
#: Seconds that a connection without a request stays open. Balancers keep theirs for 60 to 120, and
#: what one sends while its connection is closed is lost: a 502.
REST = 130.0
#: Seconds within which a client must read `READ_MEANWHILE` bytes of an answer.
IDLE = 60.0
READ_MEANWHILE = 64 * 1024
#: Bytes of an unwanted body that are read, so that the connection can be used again.
UNWANTED = 16 * 1024
#: Bytes buffered for a client that does not read when its transport pauses: the transport's buffer,
#: and the piece of an answer that did not fit.
HELD = 128 * 1024


@implementer(IHalfCloseableProtocol)
class HTTPConnection(StrictHTTP):
    """A connection with a deadline for each of its phases.

    ``site`` is a `chatd.transports.http.site.LimitedSite`, ``requests`` are
    `chatd.transports.http.request.LimitedRequest`; ``line`` is where these wait for their turns."""

    line: Line
    timeOut = None
    length: int | None
    persistent: bool

    def __init__(self) -> None:
        super().__init__()
        self._release: Callable[[], None] | None = None
        #: What is said where there are more connections than there may be, in all or from the
        #: client's address: only probes are answered here, once.
        self.too_many: str | None = None
        self.holds = HELD
        #: See `let_go`.
        self._gone = False

    def connectionMade(self) -> None:
        tune(self.transport)
        super().connectionMade()
        self._due = ReadingDeadline(self.transport, self.site.admission.deadlines, self._late)
        self._due.set(REQUEST)
        try:
            self._release = self.site.admission.open(self.transport)
        except ChatError as error:
            self.too_many = error.text
            self._release = self.site.overflow.admit(self.transport)
        give_up = partial(self.site.give_up, self.transport)
        self.line = Line(self.site.admission.turns, self.transport, give_up)

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        connection = request.requestHeaders.getRawHeaders(b"connection", ())
        if self.too_many is not None or asks_to_close(connection):
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def hand_over(self) -> bytes:
        """Another protocol, which counts for itself, takes the connection. Returns what has come
        after the request that asked for it."""
        if self._release is not None:
            self._release()
        self._dataBuffer, ahead = [], self._dataBuffer
        return b"".join([*ahead, self.clearLineBuffer()])

    def let_go(self) -> None:
        """The connection is gone, or another protocol's. What refers back to this is let go of, so
        that its memory is free at once."""
        self.site.admission.unfinished.release(self.transport)
        self._gone = True
        self._due.stop()
        self.line.leave()
        self.requests, self._transferDecoder, self._requestProducer = [], None, None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._state is not Phase.CLOSING:  # else it was refused, and that was logged
            for request in self.requests:
                request.cut_off()
        self._state = Phase.CLOSING
        self._due.cancel()
        self.hand_over()  # to nobody
        self.site.admission.unread.release(self.transport)
        super().connectionLost(reason)
        forget_unsent(self.transport)
        self.let_go()

    # -- the client has no more to say (RFC 9112, section 9.6) -------------------------------------

    def readConnectionLost(self) -> None:
        """The client has closed its side, and may still wait for answers."""
        self._ended = True
        if self._state is Phase.RECEIVING:
            self.refuse(400, Code.BAD_REQUEST, "This ends before its request does.")
        elif self._state is Phase.READING_ON:
            self._refuse_fault()
        elif self._state is Phase.ANSWERING:
            for request in self.requests:
                request.client_ended()
        elif not self.paused or self._state is Phase.CLOSING:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Expected after `half_close`: the client still has to read why it was refused."""

    def dataReceived(self, data: bytes) -> None:
        if self._state is Phase.CLOSING:
            return
        self.line.arrived()
        if begins := self._state is Phase.RESTING:
            self._state = Phase.RECEIVING
            if is_tls(data):
                self.refuse(400, Code.BAD_REQUEST, NO_TLS)
                return
        super().dataReceived(data)
        if begins and self._state in (Phase.RECEIVING, Phase.READING_ON):
            self._due.set(REQUEST)  # most requests come in one piece, and need no deadline
        self._count()

    def _count(self) -> None:
        """Count what is kept of requests that are not complete, or wait for their turn."""
        if self._gone:
            return
        kept = len(self._buffer) + len(self._rest) + self._ahead()
        if self._state is Phase.RECEIVING:
            kept += self._receivedHeaderSize
        if self.requests:
            kept += self.requests[0].body.kept
        self.site.admission.unfinished.count(self.transport, kept)

    def _begin(self) -> None:
        if self._state is Phase.RESTING:
            self._state = Phase.RECEIVING
            self._due.set(REQUEST)

    def lineReceived(self, line: bytes) -> None:
        self._begin()  # one that came in one piece with the request before it, answered since
        super().lineReceived(line)

    def allHeadersReceived(self) -> None:
        request = self.requests[-1]
        try:
            check_host(request.requestHeaders.getRawHeaders(b"host", ()), self._version)
        except BadHead as error:
            self.refuse(400, Code.BAD_REQUEST, str(error))
            return
        self.persistent = self.checkPersistence(request, self._version)
        request.gotLength(self.length)
        if self.length != 0:
            request.begin(self._command, self._path, self._version)

    def allContentReceived(self) -> None:
        if self._state is Phase.CLOSING:
            return
        answered = [request for request in self.requests if request.finished]
        self._state = Phase.ANSWERING
        self._due.cancel()
        self._origin = None
        super().allContentReceived()
        for request in answered:
            self.requestDone(request)

    # -- what goes out -----------------------------------------------------------------------------

    @property
    def goes_on(self) -> bool:
        """Whether another request can follow the present one on this connection. Not if the body is
        unwanted and long, because reading it would cost more than a new connection; nor if the
        client waits for 100 Continue, because it may send the body or not (RFC 9110, section
        10.1.1)."""
        if self._state is not Phase.RECEIVING:
            return True
        waits = self.requests[-1].expects_continue
        return not waits and self.length is not None and self.length <= UNWANTED

    def requestDone(self, request: Any) -> None:
        if self._state is Phase.RECEIVING and self.requests:
            # answered before its body was complete
            if not self.persistent:
                self._say_no_more()
            return
        self._state = Phase.RESTING
        self._due.set(REST)
        if self._waitingForTransport and self.persistent:
            # the next request is handled when the client has read this answer
            self.paused = True
            self._networkProducer.pauseProducing()
        super().requestDone(request)
        self._end_if_all_is_said()
        self._count()

    def pauseProducing(self) -> None:
        self.hold()
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self.site.admission.unread.release(self.transport)
        super().resumeProducing()
        if self.paused and self._state is not Phase.CLOSING:
            self.paused = False
            LineReceiver.dataReceived(self, b"")
            self._end_if_all_is_said()
            self._count()

    def _end_if_all_is_said(self) -> None:
        if self._busyReceiving:
            return  # the loop in which this was answered goes on with what came after it
        if self._ended and not self.paused and self._state in (Phase.RESTING, Phase.RECEIVING):
            self.loseConnection()

    def send_continue(self) -> None:
        """Send 100 Continue, if the request is not complete."""
        if self._state is Phase.RECEIVING:
            super()._send100Continue()

    def await_client(self) -> None:
        """An answer waits until the client has read some of it, for which there is a deadline."""
        if self._state is Phase.ANSWERING and not self._due.active:
            self._due.set(IDLE)

    # -- time --------------------------------------------------------------------------------------

    def _late(self) -> None:
        if self._state in (Phase.RECEIVING, Phase.READING_ON):
            self.refuse(408, Code.BAD_REQUEST, f"A request must come within {REQUEST:g} seconds.")
        elif self._state in (Phase.RESTING, Phase.ANSWERING) and self._reads():
            self._due.set(IDLE)
        else:
            self.transport.abortConnection()

    def _reads(self) -> bool:
        """Whether the client has read enough since the deadline was set, or has nothing to read."""
        waits = self._state is Phase.RESTING or self._waitingForTransport
        return not waits or self._due.read() >= READ_MEANWHILE
