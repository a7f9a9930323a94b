"""The way to a RabbitMQ node, which can be cut."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.interfaces import ITCPTransport
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from tests.support.waiting import until


class _Tunnel(ProxyServer):
    factory: Tunnel

    def connectionMade(self) -> None:
        self.factory.open.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.open.discard(self)
        super().connectionLost(reason)


class Tunnel(ProxyFactory):
    """The way from a broker of chatd's to the node at ``port``: what is cut when that goes away."""

    protocol = _Tunnel
    noisy = False

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.open: set[_Tunnel] = set()
        self.listening: Any = None
        self.number = 0

    def listen(self) -> int:
        self.listening = cast(Any, reactor).listenTCP(self.number, self, interface="127.0.0.1")
        self.number = self.listening.getHost().port
        return self.number

    async def cut(self) -> None:
        """Nobody gets through until `listen`."""
        if self.listening is not None:
            await self.listening.stopListening()
        self.listening = None
        for tunnel in list(self.open):
            ITCPTransport(tunnel.transport).abortConnection()
        await until(lambda: not self.open)
