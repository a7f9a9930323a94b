"""TCP options and state for which Twisted has no method (tcp(7))."""

from __future__ import annotations

import socket
import struct
from array import array
from fcntl import ioctl
from termios import FIONREAD
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOProtocol

from chatd.net.proxied import Proxied

#: Unsent bytes that the kernel buffers (TCP_NOTSENT_LOWAT): a stalled client costs this much, not
#: the megabytes to which a send buffer may grow.
NOT_SENT = 16 * 1024
#: Seconds without an acknowledgement of sent data after which a peer counts as dead.
SILENCE = 45.0
#: Window probes in a row without an answer that count: one may have been sent just now, minutes
#: after the one before.
UNANSWERED = 2
#: Seconds for a client to read a refusal before its connection is aborted.
LINGER = 5.0


def tune(transport: Any) -> None:
    """Set TCP options: send small writes at once, probe idle peers, buffer little in the kernel.
    Does nothing on a Unix socket."""
    try:
        # Autobahn's own option for this has no effect
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        _socket(transport).setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOT_SENT)
    except (OSError, AttributeError):
        pass  # a Unix socket, or a connection that is gone already


def is_proxied(transport: Any) -> bool:
    """Whether a proxy that speaks the PROXY protocol (``haproxy:``) is the peer: the client's
    address comes with the first bytes, and until then it is the proxy's."""
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport = transport.transport
    return isinstance(transport, Proxied)


def half_close(transport: Any) -> None:
    """Close the sending side after what is written. The caller must go on reading, and drop what it
    reads, for `LINGER` seconds: closing a connection with unread bytes resets it, and the client
    would not see the last answer."""
    if ISSLTransport.providedBy(transport):
        transport.loseConnection()  # with TLS this waits for the peer's close_notify
    else:
        transport.loseWriteConnection()


def send_now(transport: Any, data: bytes) -> None:
    """Write ``data``: on plain TCP straight to the socket if nothing is left to send. A turn of the
    reactor and two changes to the poll set cost more than the system call."""
    sent = 0
    if isinstance(transport, Connection) and not transport.TLS and not unsent(transport):
        try:
            sent = transport.socket.send(data)
        except OSError:
            sent = 0  # full for now; or the reactor meets the same error and ends the connection
    if sent != len(data):
        transport.write(data[sent:])


def unsent(transport: Connection) -> bool:
    """Whether ``transport`` has buffered bytes that it has not passed to the kernel."""
    return len(transport.dataBuffer) > transport.offset or bool(transport._tempDataBuffer)


def unsent_bytes(transport: Any) -> int | None:
    """How many bytes ``transport`` has buffered and not passed to the kernel, those below TLS if it
    has that; None if that is unknown."""
    plain = getattr(transport, "transport", transport)
    if not isinstance(plain, Connection):
        return None
    return len(plain.dataBuffer) - plain.offset + plain._tempDataLen


def forget_unsent(transport: Any) -> None:
    """Let go of what a connection that is lost has not sent, whoever still refers to it."""
    plain = getattr(transport, "transport", transport)
    if isinstance(plain, Connection):
        plain.dataBuffer = b""
        plain.offset = 0
        plain._tempDataBuffer = []
        plain._tempDataLen = 0


def behind(transport: Any) -> bool:
    """Whether bytes of the peer have come that were not read."""
    come = array("i", [0])
    try:
        ioctl(_socket(transport), FIONREAD, come)
    except (OSError, AttributeError, ValueError, TypeError):
        return False  # a connection that is gone, or one in memory
    return come[0] > 0


def silent(transport: Any) -> bool:
    """Whether the peer has not acknowledged sent data for `SILENCE` seconds; or, if it did not read
    before, the kernel's window probes, which a peer that lives does.

    Uses ``tcpi_probes``, ``tcpi_unacked`` and ``tcpi_last_ack_recv`` of tcp_info (tcp(7),
    linux/tcp.h).
    """
    info = _tcp_info(transport)
    unacked, last_ack = struct.unpack_from("I", info, 24)[0], struct.unpack_from("I", info, 56)[0]
    waits = unacked or info[_PROBES] >= UNANSWERED
    return bool(waits) and last_ack > SILENCE * 1000


def acknowledged(transport: Any) -> int:
    """The number of bytes that the peer has acknowledged (``tcpi_bytes_acked`` of tcp_info), 0 if
    unknown."""
    return int(struct.unpack_from("Q", _tcp_info(transport), 120)[0])


def _tcp_info(transport: Any) -> bytes:
    try:
        info = _socket(transport).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO)
    except (OSError, AttributeError):
        info = b""  # a Unix socket, or a connection that is gone already
    return info.ljust(_INFO, b"\0")


def _socket(transport: Any) -> socket.socket:
    """The socket of ``transport``, also below TLS. Raises AttributeError if it has none."""
    found: socket.socket = getattr(transport, "transport", transport).socket
    return found


#: Bytes of tcp_info that are read, up to ``tcpi_bytes_acked``.
_INFO = 128
#: Where ``tcpi_probes`` is in it.
_PROBES = 3

_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
