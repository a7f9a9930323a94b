"""Reading a request's head as strictly as chatd does, and refusing what is wrong with it."""

from __future__ import annotations

from chatd.net.tcp import LINGER, half_close
from chatd.protocol.errors import Code
from chatd.transports.http.chunks import CHUNKS, Chunks
from chatd.transports.http.deadline import ReadingDeadline
from chatd.transports.http.head import READ_ON, RestOfHead, frames_well, refusal
from chatd.transports.http.phase import Phase
from chatd.transports.http.pipelining import PipelinedChannel


class StrictHTTP(PipelinedChannel):
    """A connection on which a head that is wrong is read to its end and then refused, in JSON, with
    the headers that a page of its origin needs to read the answer."""

    maxHeaders, totalHeadersSize = 100, 16 * 1024  # lines and bytes of a head, at most
    MAX_LENGTH = READ_ON
    paused: bool
    _due: ReadingDeadline
    _transferDecoder: object

    def __init__(self) -> None:
        super().__init__()
        self._state = Phase.RESTING
        self._line = b""
        self._origin: bytes | None = None
        #: What is wrong with the head, and what came after that was found.
        self._fault = 400, Code.BAD_REQUEST, "That is not an HTTP request."
        self._rest = RestOfHead()
        #: The client has closed its side.
        self._ended = False

    def lineReceived(self, line: bytes) -> None:
        self._line = line
        if line[:7].lower() == b"origin:":
            self._origin = line[7:].strip()
        super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        if self._state is Phase.READING_ON:
            if self._rest.feed(data):
                self._origin = self._rest.origin or self._origin
                self._refuse_fault()
        else:
            super().rawDataReceived(data)

    def refuse(self, status: int, code: Code, text: str) -> None:
        """Refuse a malformed request, and close."""
        if self._state is Phase.CLOSING:
            return
        if not any(request.startedWriting for request in self.requests):
            origin = self._origin.decode("latin-1") if self._origin is not None else None
            cors = self.site.admission.origin_policy.cors_headers(origin)
            said = refusal(status, code, text, cors)
            self.transport.write(said)
            self.site.refused(self.transport, status, code, text, len(said))
        self._say_no_more()

    def _say_no_more(self) -> None:
        """Close after dropping input for a while; see `half_close`."""
        self._state = Phase.CLOSING
        self.paused = True
        self.clearLineBuffer()
        self._networkProducer.unregisterProducer()
        if self._ended:
            self.transport.loseConnection()
        else:
            half_close(self.transport)
        self._due.set(LINGER)

    def _respondToBadRequestAndDisconnect(self) -> None:
        long = self._receivedHeaderSize > self.totalHeadersSize
        if long or self._receivedHeaderCount > self.maxHeaders:
            text = f"Headers are at most {self.maxHeaders} lines and {self.totalHeadersSize} bytes."
            self._fault = 431, Code.BAD_REQUEST, text
        elif isinstance(self._transferDecoder, Chunks) and self._transferDecoder.too_many:
            self._fault = 413, Code.TOO_LARGE, f"A body has at most {CHUNKS} chunks."
        in_head = self.line_mode and (long or hasattr(self, "_command"))
        if in_head and self._line and self._state is Phase.RECEIVING:
            self._state = Phase.READING_ON
            self.setRawMode()
        elif self._state is not Phase.READING_ON:
            self._refuse_fault()

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(431, Code.BAD_REQUEST, f"A line is at most {self.totalHeadersSize} bytes.")

    def _refuse_fault(self) -> None:
        self.refuse(*self._fault)

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        if not frames_well(header, data, self._version):
            return bool(self._failChooseTransferDecoder())
        chosen = bool(super()._maybeChooseTransferDecoder(header, data))
        if chosen and header == b"Transfer-Encoding":
            request = self.requests[-1]
            self._transferDecoder = Chunks(request.handleContentChunk, self._finishRequestBody)
        return chosen
