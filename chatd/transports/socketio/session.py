"""An Engine.IO session, independent of its present transport."""

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
    """The transport of a session: a WebSocket, or polling."""

    def pong(self) -> None:
        """The client answered a ping."""

    def client_closes(self) -> None:
        """The client closes the session."""


class Probe(Protocol):
    """A WebSocket that may take a session over."""

    def give_up(self) -> None:
        """The session has ended; there is nothing to take over."""


class EngineSession:
    """A session. ``talk`` handles its messages; ``forget`` is called when the session has ended and
    nothing of it is needed any more."""

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
        """Send the handshake, with the transports that the client may upgrade to."""
        handshake = {
            "sid": self.sid,
            "upgrades": upgrades,
            "pingInterval": int(1000 * PING_EVERY),
            "pingTimeout": int(1000 * PONG_WITHIN),
            "maxPayload": self.factory.max_frame,
        }
        self.outlet.write(text_frame(EngineKind.OPEN.value + dump(handshake)))

    def take(self, packet: EnginePacket) -> None:
        """Handle a packet. Raises `BadPacket`, upon which the session has to be closed."""
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
        """Continue over ``carrier``."""
        self.carrier, self.outlet = carrier, carrier.outlet

    def closed(self) -> None:
        """Its transport has ended, and the session with it."""
        self.talk.closed()
        if self.probe is not None:
            self.probe.give_up()

    def forget(self) -> None:
        """Nothing of it is needed any more."""
        self._forget(self)

    def let_go(self) -> None:
        """What carried it is gone. What refers back to this is let go of, so that its memory is
        free at once."""
        del self.talk

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
