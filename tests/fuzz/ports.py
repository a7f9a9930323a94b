"""A whole node on a reactor in memory, whose ports are fed bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from chatd.config.options import Options
from chatd.tap import ChatService

#: Connections after which there is a new node: what strangers made goes with the old one.
LIFE = 2000
#: Seconds that pass after each input.
PASSES = 0.3
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{protocol}\r\n"
)
CHAT = UPGRADE.format(
    path="/?username=ann&roomname=lobby", protocol="Sec-WebSocket-Protocol: chatd.v1\r\n"
).encode()
LEGACY = UPGRADE.format(path="/?username=ann&roomname=lobby", protocol="").encode()


class _Transport(StringTransport):
    """A connection from this machine, which takes everything. ``protocol`` may hand over to
    another, as an upgrade does."""

    def __init__(self, protocol: Any) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "127.0.0.1", 50000))
        self.protocol = protocol

    def loseWriteConnection(self) -> None:
        self.loseConnection()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        # the base class refuses an empty write
        self.write(b"".join(data))


class _Reactor(MemoryReactorClock):
    """One whose ports can be told to accept."""

    def listenTCP(self, *args: Any, **kw: Any) -> Any:
        port: Any = super().listenTCP(*args, **kw)
        port.doRead = lambda: None
        return port


def connected(factory: Any) -> _Transport:
    """The server's end of a new connection."""
    client = IPv4Address("TCP", "127.0.0.1", 50000)
    transport = _Transport(factory.buildProtocol(client))
    transport.protocol.makeConnection(transport)
    return transport


class FuzzedNode:
    """A node; made anew after `LIFE` connections."""

    def __init__(self) -> None:
        self._left = 0
        self._reactor: Any = None
        self._factories: dict[int, Any] = {}
        self._service: ChatService | None = None

    def feed(self, port: int, data: bytes, before: bytes = b"") -> bytes:
        """Connect to ``port``, send ``before``, then ``data``, in two pieces; what was answered."""
        if self._left == 0:
            self._begin()
        self._left -= 1
        transport = connected(self._factories[port])
        half = len(data) // 2
        for piece in (before, data[:half], data[half:]):
            if piece and not transport.disconnected:
                transport.protocol.dataReceived(piece)
        self._reactor.advance(PASSES)
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        self._reactor.advance(0)
        answered: bytes = transport.value()
        return answered

    def _begin(self) -> None:
        options = Options()
        options.parseOptions(["--broker", "memory:", "--rate", "100000/s", "--max-rooms", "500"])
        self._reactor = _Reactor()
        self._reactor.advance(1_800_000_000)
        self._service = ChatService(self._reactor, options.config)
        self._service.privilegedStartService()
        self._service.startService()
        for _ in range(5):
            self._reactor.advance(0.1)
        assert self._service.status.ready
        self._factories = {port: factory for port, factory, *_ in self._reactor.tcpServers}
        self._left = LIFE


def frames(data: bytes) -> bytes:
    """``data`` as masked WebSocket frames, a line each, whose first byte says what kind."""
    out = []
    for line in data.split(b"\n"):
        first, payload = (line[0], line[1:]) if line else (0x81, b"")
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size % 65536)
        out.append(bytes([first]) + length + b"\0\0\0\0" + payload)
    return b"".join(out)
