"""The sending side of an answer without an end: each write is a chunk of its own, and goes past
twisted.web, straight to the socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from chatd.net.tcp import unsent
from chatd.rooms.interfaces import IEncoding
from chatd.transports.encodings import CHUNKED_EVENT_STREAM, EVENT_STREAM, chunk
from chatd.transports.http.connection import HELD
from chatd.transports.http.request import LimitedRequest as Request

#: Bytes that the transport may hold before it counts as not writable, until it is written to
#: directly, and over TLS.
BUFFER = 16 * 1024


@implementer(IPushProducer)
class StreamWriter:
    """Writes to the client of ``request``, once its head is sent.

    ``on_writable`` is called when the transport can take something again, ``send_changed`` when
    `send` has become another one otherwise.
    """

    def __init__(
        self, request: Request, on_writable: Callable[[], None], send_changed: Callable[[], None]
    ) -> None:
        self._writable = True
        #: One encoding for all streams that are framed alike (RFC 9112, section 7.1).
        self.encoding: IEncoding = CHUNKED_EVENT_STREAM if request.chunked else EVENT_STREAM
        self._chunked = bool(request.chunked)
        self._request = request
        self._channel = request.channel
        self._transport: Any = request.channel.transport
        self._on_writable = on_writable
        self._send_changed = send_changed
        plain = isinstance(self._transport, tcp.Connection) and not self._transport.TLS
        self._direct: Callable[[bytes], int] | None = self._transport.socket.send if plain else None
        #: The same, once all that came before, the head for one thing, has left.
        self._send: Callable[[bytes], int] | None = None
        self._finished = False
        self._before = getattr(self._transport, "bufferSize", BUFFER)
        self._buffer(BUFFER)
        request.registerProducer(self, True)

    def go_direct(self) -> None:
        """Write to the socket itself from now on, or from when it has taken what waits."""
        if self._direct is None:
            return
        self._transport.doWrite()
        if unsent(self._transport):
            self._wait()
        elif self._writable:
            self._send = self._direct
            self._send_changed()

    def _wait(self) -> None:
        """Be told when the transport has nothing left to send, however little it holds. Its
        ``bufferSize`` cannot be 0 for that: it reads as many bytes at a time, and takes none for
        the end."""
        transport = self._transport
        if transport.producer is not None and not transport.producerPaused and unsent(transport):
            transport.producerPaused = True
            self._channel.pauseProducing()

    def _buffer(self, size: int) -> None:
        if hasattr(self._transport, "bufferSize"):
            self._transport.bufferSize = size

    def finish(self) -> None:
        """End the answer; another one may follow on the same connection."""
        if not self._finished:
            self._finished = True
            self._buffer(self._before)
            self._channel.holds = HELD
            self._request.unregisterProducer()
            self._request.finish()

    def lost(self) -> None:
        """The connection is gone, or the answer has ended: write nothing more."""
        self._finished = True

    def write(self, data: bytes) -> None:
        """Write ``data``, which is not framed yet, unless the transport is not writable."""
        self.offer(chunk(data) if self._chunked else data)

    @property
    def send(self) -> Callable[[bytes], int] | None:
        """See `chatd.rooms.interfaces.ISubscriber`."""
        return self._send if self._writable and not self._finished else None

    def keep(self, rest: bytes) -> None:
        """See `chatd.rooms.interfaces.ISubscriber`."""
        self._channel.holds = len(rest)
        self._transport.write(rest)
        self._wait()

    def offer(self, data: bytes) -> bool:
        """Write ``data``, which is framed; False, with nothing written, if the transport is not
        writable."""
        if not self._writable or self._finished:
            return False
        if self._send is None:
            self._transport.write(data)
            return True
        try:
            sent = self._send(data)
        except OSError:
            sent = 0  # full for now; or the reactor meets the same error and ends the connection
        if sent != len(data):
            self.keep(data[sent:])
        return True

    # -- IPushProducer -----------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self._writable = False
        self._send_changed()

    def resumeProducing(self) -> None:
        self._writable = True
        self._send = self._direct
        self._on_writable()

    def stopProducing(self) -> None:
        self._finished = True
