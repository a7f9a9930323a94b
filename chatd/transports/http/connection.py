"""One HTTP connection: how much of the server it may hold, and for how long.

twisted.web's own channel has a timer for each connection, waits for ever for a request that comes
a byte at a time, answers pipelined requests of a client that reads none of the answers, and takes
a body to pieces before anyone has looked at its head.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from chatd.net.tcp import LINGER, acknowledged, forget_unsent, half_close, tune
from chatd.protocol.errors import Code
from chatd.timing.timer_wheel import Deadline
from chatd.transports.http.head import READ_ON, BadHead, RestOfHead, check_host, refusal
from chatd.transports.http.line import Line

#: Seconds for a request to come in whole, from its first byte or the connection's beginning.
REQUEST = 30.0
#: Seconds that a connection without a request is kept, and within which a client must read some of
#: an answer already written: so many bytes at least.
IDLE = 60.0
READ_MEANWHILE = 64 * 1024
#: Bytes of a body nobody wants that are waited for, so that the connection can be used again.
UNWANTED = 16 * 1024
#: Bytes that are held for a client that does not read, when its transport says that it takes no
#: more: its buffer, and the piece of an answer that did not fit.
HELD = 128 * 1024
#: Lines and bytes of a request's head.
HEADERS = 100
HEAD_BYTES = 16 * 1024
#: Digits of a Content-Length; Python refuses to read thousands.
LENGTH_DIGITS = 18


class Phase(Enum):
    """What a connection is about."""

    #: No request has begun.
    RESTING = auto()
    #: A request is coming in; it may be in hand since its head is here.
    RECEIVING = auto()
    #: The head cannot be one. It is read to its end, for the Origin may yet come.
    READING_ON = auto()
    #: A request is being answered. No deadline: waiting polls and event streams have their own.
    ANSWERING = auto()
    #: What comes is thrown away; the client has been told all there is to tell.
    CLOSING = auto()


@implementer(IHalfCloseableProtocol)
class HTTPConnection(HTTPChannel):
    """A connection whose time is bounded by the `Deadlines` of its door.

    ``site`` is a `chatd.transports.http.site.LimitedSite`, ``requests`` are
    `chatd.transports.http.request.LimitedRequest`; ``line`` is where these wait for their turns."""

    site: Any
    transport: Any
    line: Line
    requests: list[Any]
    maxHeaders = HEADERS
    totalHeadersSize = HEAD_BYTES
    MAX_LENGTH = READ_ON
    timeOut = None
    length: int | None
    paused: bool
    persistent: bool
    _networkProducer: Any

    def __init__(self) -> None:
        super().__init__()
        self._state = Phase.RESTING
        self._due: Deadline | None = None
        self._release: Callable[[], None] | None = None
        #: There are more connections than there may be: only probes are answered here, once.
        self.too_many = False
        self._read = 0
        self._line = b""
        self._origin: bytes | None = None
        #: What is wrong with the head, and what came after that was found.
        self._fault = 400, Code.BAD_REQUEST, "That is not an HTTP request."
        self._rest = RestOfHead()
        self._ended = False

    def connectionMade(self) -> None:
        tune(self.transport)
        super().connectionMade()
        self._wait(REQUEST)
        self._release = self.site.door.open(self.transport)
        if self._release is None:
            self.too_many = True
            self._release = self.site.overflow.admit(self.transport)
        self.line = Line(self.site.door.turns, self.transport)

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        if self.too_many:
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

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = Phase.CLOSING
        self._wait(None)
        self.hand_over()  # to nobody
        self.site.door.unread.release(self.transport)
        super().connectionLost(reason)
        self.line.leave()
        forget_unsent(self.transport)

    # -- the client has no more to say (RFC 9112, section 9.6) -------------------------------------

    def readConnectionLost(self) -> None:
        """It may still wait for answers to what it has asked."""
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
        """What `half_close` asked for: the client has still to see why."""

    def dataReceived(self, data: bytes) -> None:
        if self._state is Phase.CLOSING:
            return
        self.line.arrived()
        self._begin()
        super().dataReceived(data)

    def _begin(self) -> None:
        if self._state is Phase.RESTING:
            self._state = Phase.RECEIVING
            self._wait(REQUEST)

    def lineReceived(self, line: bytes) -> None:
        self._begin()  # one that came in one piece with the request before it, answered since
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

    def allHeadersReceived(self) -> None:
        request = self.requests[-1]
        try:
            check_host(request.requestHeaders, self._version)
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
        self._wait(None)
        self._origin = None
        super().allContentReceived()
        for request in answered:
            self.requestDone(request)

    # -- what goes out -----------------------------------------------------------------------------

    @property
    def goes_on(self) -> bool:
        """Whether there can be another request after the present one. A long body that nobody
        wants would cost more than a new connection; and it is not known whether a client that was
        not told to continue still sends it (RFC 9110, section 10.1.1)."""
        if self._state is not Phase.RECEIVING:
            return True
        waits = self.requests[-1].expects_continue
        return not waits and self.length is not None and self.length <= UNWANTED

    def requestDone(self, request: Any) -> None:
        if self._state is Phase.RECEIVING and self.requests:
            # answered from its head alone: the rest of the body is not wanted
            if not self.persistent:
                self._say_no_more()
            return
        self._state = Phase.RESTING
        self._wait(IDLE)
        if self._waitingForTransport and self.persistent:
            # what else has come is looked at once the client has read this answer
            self.paused = True
            self._networkProducer.pauseProducing()
        super().requestDone(request)
        self._end_if_all_is_said()

    def pauseProducing(self) -> None:
        self.site.door.unread.hold(self.transport, HELD)
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self.site.door.unread.release(self.transport)
        super().resumeProducing()
        if self.paused and self._state is not Phase.CLOSING:
            self.paused = False
            LineReceiver.dataReceived(self, b"")
            self._end_if_all_is_said()

    def _end_if_all_is_said(self) -> None:
        if self._ended and not self.paused and self._state in (Phase.RESTING, Phase.RECEIVING):
            self.loseConnection()

    def send_continue(self) -> None:
        """Tell a client that asked whether it may send its body."""
        if self._state is Phase.RECEIVING:
            super()._send100Continue()

    def await_client(self) -> None:
        """An answer waits for the client to read: from now on it must."""
        if self._state is Phase.ANSWERING and self._due is None:
            self._wait(IDLE)

    # -- time --------------------------------------------------------------------------------------

    def _wait(self, seconds: float | None) -> None:
        """Have `_late` called after ``seconds``, unless something else happens first."""
        if self._due is not None:
            self._due.cancel()
        self._due = None
        if seconds is not None:
            self._read = acknowledged(self.transport)
            self._due = self.site.door.deadlines.after(seconds, self._late)

    def _late(self) -> None:
        if self._state in (Phase.RECEIVING, Phase.READING_ON):
            self.refuse(408, Code.BAD_REQUEST, f"A request must come within {REQUEST:g} seconds.")
        elif self._state in (Phase.RESTING, Phase.ANSWERING) and self._reads():
            self._wait(IDLE)
        else:
            self.transport.abortConnection()

    def _reads(self) -> bool:
        """Whether the client has read enough meanwhile, or has nothing to read."""
        waits = self._state is Phase.RESTING or self._waitingForTransport
        return not waits or acknowledged(self.transport) >= self._read + READ_MEANWHILE

    # -- refusals ----------------------------------------------------------------------------------

    def refuse(self, status: int, code: Code, text: str) -> None:
        """Answer what cannot be a request, and take nothing more from this client."""
        if self._state is Phase.CLOSING:
            return
        if not any(request.startedWriting for request in self.requests):
            origin = self._origin.decode("latin-1") if self._origin is not None else None
            cors = self.site.door.gate.cors_headers(origin)
            said = refusal(status, code, text, cors)
            self.transport.write(said)
            self.site.refused(self.transport, status, code, len(said))
        self._say_no_more()

    def _say_no_more(self) -> None:
        """Close, but go on reading for a while: see `half_close`."""
        self._state = Phase.CLOSING
        self.paused = True
        self.clearLineBuffer()
        self._networkProducer.unregisterProducer()
        if self._ended:
            self.transport.loseConnection()
        else:
            half_close(self.transport)
        self._wait(LINGER)

    def _respondToBadRequestAndDisconnect(self) -> None:
        long = self._receivedHeaderSize > self.totalHeadersSize
        if long or self._receivedHeaderCount > self.maxHeaders:
            text = f"Headers are at most {self.maxHeaders} lines and {self.totalHeadersSize} bytes."
            self._fault = 431, Code.BAD_REQUEST, text
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
        if header == b"Content-Length" and len(data) > LENGTH_DIGITS:
            return bool(self._failChooseTransferDecoder())
        return bool(super()._maybeChooseTransferDecoder(header, data))
