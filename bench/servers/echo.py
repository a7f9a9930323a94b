"""Autobahn's echo as its documentation has it, on epoll: python echo.py PORT"""

from __future__ import annotations

import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint


class Echo(WebSocketServerProtocol):
    """Sends each message back."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.setTcpNoDelay(True)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


def main(port: int) -> None:
    """Listen, for ever."""
    factory = WebSocketServerFactory()
    factory.protocol = Echo
    factory.noisy = False
    TCP4ServerEndpoint(reactor, port, 4096, "127.0.0.1").listen(factory)
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
