"""Writes to one client, and knows whether it drains.

Two kinds of writing: what answers the client (`Outlet.write`) is always taken, and bounded by no
longer reading from a client that does not read; messages (`Outlet.offer`) are refused while the
transport holds anything back, because a cursor can always read them again.

On plain TCP a write goes straight to the socket. Handing it to the transport would cost four times
as much: an entry in its buffer, a turn of the reactor, and two changes to the poll set.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IPullProducer, IPushProducer, ISSLTransport
from zope.interface import implementer

#: Bytes of answers held for a client that does not read before it is no longer read from.
HELD = 32 * 1024
#: Bytes the kernel takes beyond what is under way to the client (tcp(7), TCP_NOTSENT_LOWAT): a
#: client that stalls costs this, and not the megabytes a send buffer may grow to.
NOT_SENT = 16 * 1024
#: Seconds without any sign of a peer, while data waits for it, after which it is dead.
SILENCE = 45.0
#: Seconds for a client to take note of a refusal before its connection is cut.
LINGER = 5.0


@implementer(IPushProducer, IPullProducer)
class Outlet:
    """The sending side of ``transport``. ``drained`` is called whenever it drains again."""

    def __init__(self, transport: Any, drained: Callable[[], None]) -> None:
        self.draining = True
        self._transport = transport
        self._drained = drained
        self._held = 0
        self._not_reading = 0
        self._closed = False
        direct = isinstance(transport, tcp.Connection) and not transport.TLS
        self._socket: socket.socket | None = transport.socket if direct else None
        # Registered as a pull producer, a plain transport tells each time that all is gone. A TLS
        # one would ask without end; it tells a push producer once its own buffer is full.
        transport.registerProducer(self, not direct)

    def write(self, data: bytes) -> None:
        """Write an answer; it is sent after everything written before."""
        if self._closed:
            return
        if self.draining:
            self._send(data)
        else:
            self._transport.write(data)
            before, self._held = self._held, self._held + len(data)
            if before <= HELD < self._held:
                self.stop_reading()

    def offer(self, data: bytes) -> bool:
        """Write messages, unless the transport still holds something: then False, and nothing of
        ``data`` is written."""
        if not self.draining or self._closed:
            return False
        self._send(data)
        return True

    def stop_reading(self) -> None:
        """Take nothing more from the client until as many `start_reading` have been called."""
        self._not_reading += 1
        if self._not_reading == 1:
            self._transport.pauseProducing()

    def start_reading(self) -> None:
        """Undo one `stop_reading`."""
        self._not_reading -= 1
        if self._not_reading == 0 and not self._closed:
            self._transport.resumeProducing()

    def close(self) -> None:
        """Write nothing more."""
        self._closed = True

    def _send(self, data: bytes) -> None:
        if self._socket is not None:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the reactor meets the same error and ends the connection
            if sent == len(data):
                return
            data = data[sent:]
            self.draining = False
        self._transport.write(data)

    # -- producer --------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self.draining = False

    def resumeProducing(self) -> None:
        if self._closed or self.draining:
            return
        self.draining = True
        held, self._held = self._held, 0
        if held > HELD:
            self.start_reading()
        self._drained()

    def stopProducing(self) -> None:
        self.close()


def tune(transport: Any) -> None:
    """Set what a chat wants of TCP: small writes leave at once, little is queued in the kernel."""
    try:
        # Autobahn's own option has no effect: it is read before it is set
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        _socket(transport).setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOT_SENT)
    except (OSError, AttributeError):
        pass  # a Unix socket, or a connection that is gone already


def half_close(transport: Any) -> None:
    """Send nothing more after what is written. What comes must still be read, and thrown away, for
    `LINGER` seconds: a connection closed with bytes unread is reset, and the client would not see
    the last answer."""
    if ISSLTransport.providedBy(transport):
        transport.loseConnection()  # TLS says goodbye, and waits for the other side's
    else:
        transport.loseWriteConnection()


def silent(transport: Any) -> bool:
    """Whether data under way to the peer has been left unacknowledged for `SILENCE` seconds.

    Reads ``tcpi_unacked`` and ``tcpi_last_ack_recv`` of tcp_info (tcp(7), linux/tcp.h). A peer that
    lives but does not read acknowledges the kernel's window probes.
    """
    info = _tcp_info(transport)
    unacked, last_ack = struct.unpack_from("I", info, 24)[0], struct.unpack_from("I", info, 56)[0]
    return bool(unacked) and last_ack > SILENCE * 1000


def acknowledged(transport: Any) -> int:
    """How many bytes the peer has acknowledged: ``tcpi_bytes_acked`` of tcp_info; 0 if unknown."""
    return int(struct.unpack_from("Q", _tcp_info(transport), 120)[0])


def _tcp_info(transport: Any) -> bytes:
    try:
        info = _socket(transport).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO)
    except (OSError, AttributeError):
        info = b""  # a Unix socket, or a connection that is gone already
    return info.ljust(_INFO, b"\0")


def _socket(transport: Any) -> socket.socket:
    """The socket of ``transport``, beneath TLS too. AttributeError if it has none."""
    found: socket.socket = getattr(transport, "transport", transport).socket
    return found


#: Bytes of tcp_info that are read: up to and with ``tcpi_bytes_acked``.
_INFO = 128
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
