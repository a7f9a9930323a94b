"""One HTTP connection: how much of the server it may hold, and for how long.

twisted.web's own channel has a timer for each connection, waits for ever for a request that comes
a byte at a time, and answers pipelined requests of a client that reads none of the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from chatd.access.admission import Door
from chatd.net.tcp import LINGER, acknowledged, half_close, tune
from chatd.protocol.errors import Code
from chatd.protocol.json import dump
from chatd.telemetry.metrics import Metrics
from chatd.timing.timer_wheel import Deadline
from chatd.transports.http.overflow import Overflow

#: Seconds for a request to come in whole, from its first byte or the connection's beginning.
REQUEST = 30.0
#: Seconds that a connection without a request is kept, and within which a client must read some of
#: an answer already written: so many bytes at least.
IDLE = 60.0
READ_MEANWHILE = 64 * 1024
#: Header lines of a request; their bytes are limited by twisted.web, to 16 KiB.
HEADERS = 100
#: Digits of a Content-Length; Python refuses to read thousands.
LENGTH_DIGITS = 18


class State(Enum):
    """What a connection is about."""

    #: No request has begun.
    RESTING = auto()
    #: A request is coming in.
    RECEIVING = auto()
    #: A request is being answered. No deadline: waiting polls and event streams have their own.
    ANSWERING = auto()
    #: What comes is thrown away; the client has been told.
    REFUSED = auto()


class Channel(HTTPChannel):
    """A connection whose time is bounded by the `Deadlines` of its door."""

    site: LimitedSite
    maxHeaders = HEADERS
    timeOut = None
    transport: Any
    paused: bool
    _networkProducer: Any
    _dataBuffer: list[bytes]

    def __init__(self) -> None:
        super().__init__()
        self._state = State.RESTING
        self._due: Deadline | None = None
        self._release: Callable[[], None] | None = None
        #: There are more connections than there may be: only probes are answered here, once.
        self.too_many = False
        self._read = 0

    def connectionMade(self) -> None:
        tune(self.transport)
        super().connectionMade()
        self._wait(REQUEST)
        self._release = self.site.door.open(self.transport)
        if self._release is None:
            self.too_many = True
            self._release = self.site.overflow.admit(self.transport)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
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
        self._wait(None)
        if self._release is not None:
            self._release()
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self._state is State.REFUSED:
            return
        if self._state is State.RESTING:
            self._state = State.RECEIVING
            self._wait(REQUEST)
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        if self._state is not State.REFUSED:
            self._state = State.ANSWERING
            self._wait(None)
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        self._state = State.RESTING
        self._wait(IDLE)
        if self._waitingForTransport and self.persistent:
            # what else has come is looked at once the client has read this answer
            self.paused = True
            self._networkProducer.pauseProducing()
        super().requestDone(request)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self.paused and self._state is not State.REFUSED:
            self.paused = False
            LineReceiver.dataReceived(self, b"")

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
        if self._state is State.RECEIVING:
            self.refuse(408, Code.BAD_REQUEST, f"A request must come within {REQUEST:g} seconds.")
        elif (
            self._state is State.RESTING
            and acknowledged(self.transport) >= self._read + READ_MEANWHILE
        ):
            self._wait(IDLE)
        else:
            self.transport.abortConnection()

    # -- refusals ----------------------------------------------------------------------------------

    def refuse(self, status: int, code: Code, text: str) -> None:
        """Answer what cannot be a request, and take nothing more from this client."""
        if self._state is State.REFUSED:
            return
        self._state = State.REFUSED
        self.paused = True
        self.clearLineBuffer()
        self.site.metrics.errors.labels(code.word).inc()
        self.site.metrics.requests.labels(str(status)).inc()
        body = dump({"type": "error", "code": code.word, "text": text}) + b"\n"
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json; charset=utf-8\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (status, HTTPStatus(status).phrase.encode("ascii"), len(body), body)
        )
        self._networkProducer.unregisterProducer()
        half_close(self.transport)
        self._wait(LINGER)

    def _respondToBadRequestAndDisconnect(self) -> None:
        long = self._receivedHeaderSize > self.totalHeadersSize
        if long or self._receivedHeaderCount > self.maxHeaders:
            text = f"Headers are at most {self.maxHeaders} lines and {self.totalHeadersSize} bytes."
            self.refuse(431, Code.BAD_REQUEST, text)
        else:
            self.refuse(400, Code.BAD_REQUEST, "That is not an HTTP request.")

    def lineLengthExceeded(self, line: bytes) -> None:
        text = f"A line is at most {self.MAX_LENGTH} bytes."
        self.refuse(431, Code.BAD_REQUEST, text)

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        if header == b"Content-Length" and len(data) > LENGTH_DIGITS:
            return bool(self._failChooseTransferDecoder())
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def _send100Continue(self) -> None:
        if self._state is not State.REFUSED:
            super()._send100Continue()


class LimitedRequest(Request):
    """A request whose body is refused as it comes in, once it is longer than the site allows."""

    channel: Any
    _taken = 0
    _rendering = False

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length)
        if length is not None:
            self._check(length)

    def handleContentChunk(self, data: bytes) -> None:
        self._taken += len(data)
        if self._check(self._taken):
            super().handleContentChunk(data)

    def _check(self, size: int) -> bool:
        limit = self.channel.site.max_body
        if size > limit:
            text = f"A body is at most {limit} bytes."
            self.channel.refuse(413, Code.TOO_LARGE, text)
        return bool(size <= limit)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        try:
            super().requestReceived(command, path, version)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            if self._rendering:
                raise
            # multipart/form-data that the email package cannot take apart
            self.channel.refuse(400, Code.BAD_REQUEST, "The form cannot be read.")

    def process(self) -> None:
        """See `twisted.web.http.Request`: all has come and was taken apart."""
        self._rendering = True
        super().process()


class LimitedSite(Site):
    """The factory of the HTTP port. ``max_body`` is in bytes."""

    displayTracebacks = False

    def __init__(self, root: IResource, door: Door, metrics: Metrics, max_body: int) -> None:
        super().__init__(root, LimitedRequest, logFormatter=_masked_log)
        self.door = door
        self.metrics = metrics
        self.max_body = max_body
        self.overflow = Overflow()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel = Channel()
        channel.factory = channel.site = self
        channel.requestFactory = self.requestFactory
        return channel

    def getContentFile(self, length: int | None) -> BytesIO:
        """Where a body is kept: in memory, for it is small."""
        return BytesIO()

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS may agree on (ALPN): WebSocket needs HTTP/1.1."""
        return [b"http/1.1"]


def _masked_log(timestamp: str, request: Request) -> str:
    """A line of the access log, without the query: it may hold a token."""
    shown = ascii(f"{request.method.decode('latin-1')} {request.path.decode('latin-1')}")[1:-1]
    return (
        f'"{getattr(request.getClientAddress(), "host", "unix")}" - - {timestamp} '
        f'"{shown}" '
        f"{request.code} {request.sentLength}"
    )
