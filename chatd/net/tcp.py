"""What Twisted has no method for: socket options, half-close, unsent bytes (tcp(7))."""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection

#: Bytes the kernel takes beyond what is under way to the client (tcp(7), TCP_NOTSENT_LOWAT): a
#: client that stalls costs this, and not the megabytes a send buffer may grow to.
NOT_SENT = 16 * 1024
#: Seconds without any sign of a peer, while data waits for it, after which it is dead.
SILENCE = 45.0
#: Seconds for a client to take note of a refusal before its connection is cut.
LINGER = 5.0


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


def unsent(transport: Connection) -> bool:
    """Whether ``transport`` holds something that the kernel has yet to take."""
    return len(transport.dataBuffer) > transport.offset or bool(transport._tempDataBuffer)


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
