"""One session of Engine.IO, over whichever transport it has at the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from chatd.protocol.errors import ChatError
from chatd.protocol.json import dump
from chatd.transports.dialect import ClientLink, Outlet, Serving
from chatd.transports.encodings import text_frame
from chatd.transports.socketio.engine_packets import BadPacket, EngineKind, EnginePacket
from chatd.transports.socketio.talk import Credentials, Talk
from chatd.transports.websocket.heartbeat import PING_EVERY, PONG_WITHIN


class Carrier(ClientLink, Protocol):
    """What carries a session: a WebSocket, or polls."""

    def pong(self) -> None:
        """The client gave a sign of life."""

    def client_closes(self) -> None:
        """The client says that it goes."""


class Probe(Protocol):
    """A WebSocket that may take a session over."""

    def give_up(self) -> None:
        """There is nothing to take over any more."""


class EngineSession:
    """What is said over it is said by its ``talk``. ``forget`` is called when nothing more can be
    asked of it."""

    def __init__(
        self,
        factory: Serving,
        sid: str,
        carrier: Carrier,
        credentials: Credentials,
        forget: Callable[[EngineSession], None],
    ) -> None:
        self.factory = factory
        self.sid = sid
        self.carrier = carrier
        self.outlet: Outlet = carrier.outlet
        self.probe: Probe | None = None
        self._forget = forget
        self.talk = Talk(self, credentials)

    def open(self, *upgrades: str) -> None:
        """Say what a client has to know, and which transports it may change to."""
        handshake = {
            "sid": self.sid,
            "upgrades": upgrades,
            "pingInterval": int(1000 * PING_EVERY),
            "pingTimeout": int(1000 * PONG_WITHIN),
            "maxPayload": self.factory.max_frame,
        }
        self.outlet.write(text_frame(EngineKind.OPEN.value + dump(handshake)))

    def take(self, packet: EnginePacket) -> None:
        """A packet came. `BadPacket` for what no client may send: the session is to be closed."""
        if packet.kind is EngineKind.MESSAGE:
            self.talk.received(packet.data)
        elif packet.kind is EngineKind.BINARY:
            self.talk.received_binary()
        elif packet.kind is EngineKind.PONG:
            self.carrier.pong()
        elif packet.kind is EngineKind.CLOSE:
            self.carrier.client_closes()
        elif packet.kind is not EngineKind.NOOP:
            raise BadPacket("A client sends no such packet.")

    def move(self, carrier: Carrier) -> None:
        """Go on over ``carrier``."""
        self.carrier, self.outlet = carrier, carrier.outlet

    def closed(self) -> None:
        """Nothing more is said over it."""
        self.talk.closed()
        if self.probe is not None:
            self.probe.give_up()

    def forget(self) -> None:
        """Nothing is left to be asked of it."""
        self._forget(self)

    # -- ClientLink --------------------------------------------------------------------------------

    def work(self, doing: Deferred[None]) -> None:
        """See `chatd.transports.dialect.ClientLink`."""
        self.carrier.work(doing)

    def note(self, error: ChatError) -> None:
        """See `chatd.transports.dialect.ClientLink`."""
        self.carrier.note(error)

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        """See `chatd.transports.dialect.ClientLink`."""
        self.carrier.sendClose(code, reason)
