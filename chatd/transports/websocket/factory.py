"""The WebSocket connections of a port: how they are made, and which are open."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory
from prometheus_client import Gauge
from twisted.internet.interfaces import IProtocolNegotiationFactory, IReactorTime
from zope.interface import implementer

from chatd.access.admission import Admission
from chatd.access.proxies import UNIX
from chatd.protocol.errors import bad_request
from chatd.service.chat import Chat
from chatd.telemetry.metrics import Metrics
from chatd.timing.turn_queue import in_turns
from chatd.transports.come_back import come_back, spread
from chatd.transports.http.head import TLS_ONLY
from chatd.transports.websocket.connection import WebSocketConnection
from chatd.transports.websocket.handshake import refusal
from chatd.transports.websocket.interfaces import Dialect


@implementer(IProtocolNegotiationFactory)
class WebSocketFactory(WebSocketServerFactory):
    """Makes connections, and knows the open ones. ``dialect`` makes what one of them speaks;
    ``kind`` is what they are counted as."""

    protocol, noisy = WebSocketConnection, False
    kind = "websocket"

    def __init__(
        self,
        reactor: IReactorTime,
        chat: Chat,
        admission: Admission,
        metrics: Metrics,
        dialect: Callable[[WebSocketConnection, bool], Dialect],
        max_frame: int,
    ) -> None:
        super().__init__(reactor=reactor, server="chatd")
        self.chat, self.admission, self.metrics, self.dialect = chat, admission, metrics, dialect
        self.connections: set[WebSocketConnection] = set()
        #: How many of them have still to be sent away.
        self._untold = 0
        self.setProtocolOptions(
            # drafts before RFC 6455 have the Origin in another header, which nobody judges
            versions=[13],
            failByDrop=False,
            echoCloseCodeReason=True,
            # Autobahn's own timers are not on our clock
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            webStatus=False,
            autoPingInterval=0,
        )
        self.protocol = self._with_options(self.protocol)
        self.set_max_frame(max_frame)

    def _with_options(self, protocol: type[WebSocketConnection]) -> type[WebSocketConnection]:
        """``protocol`` with the options of this factory as its own. Autobahn would copy them to
        each connection, all thirty, and format the list for a log line that is not logged: half of
        the time that a handshake takes."""
        options = {name: getattr(self, name) for name in protocol.CONFIG_ATTRS}
        options = {k: staticmethod(v) if callable(v) else v for k, v in options.items()}
        return type(protocol.__name__, (protocol,), {**options, "CONFIG_ATTRS": ()})

    def acceptableProtocols(self) -> list[bytes]:
        """The protocols for ALPN, which browsers offer for wss, too."""
        return [b"http/1.1"]

    def refuse_plain(self, transport: Any, data: bytes) -> bytes:
        """See `chatd.net.handshakes.FactoryInTurn`."""
        error, address = bad_request(TLS_ONLY), getattr(transport.getPeer(), "host", UNIX)
        self.metrics.refusals.add(error.code.word, address, "WEBSOCKET", error.text)
        return refusal(400, error)

    def set_max_frame(self, max_frame: int) -> None:
        """Who connects from now on may send frames, and messages, of so many bytes."""
        self.max_frame = max_frame

    @cached_property
    def _open(self) -> Gauge:
        return self.metrics.connections.labels(self.kind)

    def opened(self, connection: WebSocketConnection) -> None:
        """A connection is open."""
        self.connections.add(connection)
        self._open.inc()

    def lost(self, connection: WebSocketConnection) -> None:
        """An open connection is gone."""
        self.connections.discard(connection)
        self._open.dec()

    @property
    def in_hand(self) -> int:
        """How many connections wait for an answer, or to be sent away."""
        return self._untold + sum(connection.is_busy for connection in self.connections)

    @property
    def leaving(self) -> int:
        """How many connections are open."""
        return len(self.connections)

    def drain(self, others: int) -> None:
        """Send every client away, to come back at a time of its own."""
        within, every = spread(len(self.connections), others), list(self.connections)
        self._untold += len(every)
        in_turns(self.reactor, every, lambda one: self._send_away(one, come_back(within=within)))

    def _send_away(self, connection: WebSocketConnection, retry: int) -> None:
        self._untold -= 1
        if connection in self.connections:  # it may have gone meanwhile
            connection.drain(retry)
