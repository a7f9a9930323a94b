"""WebSocket as the transport of a session (Engine.IO 4, "WebSocket" and "Upgrade")."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from chatd.access.admission import Admission
from chatd.protocol.errors import ChatError, bad_request
from chatd.service.chat import Chat
from chatd.telemetry.metrics import Metrics
from chatd.timing.timer_wheel import Deadline
from chatd.transports.dialect import CLOSE_BAD_REQUEST
from chatd.transports.encodings import text_frame
from chatd.transports.socketio.engine_packets import BadPacket, EngineKind, EnginePacket
from chatd.transports.socketio.faults import EngineFault
from chatd.transports.socketio.polling import PollingLink
from chatd.transports.socketio.session import EngineSession
from chatd.transports.socketio.sessions import Sessions
from chatd.transports.socketio.talk import Credentials
from chatd.transports.websocket.connection import WebSocketConnection
from chatd.transports.websocket.factory import WebSocketFactory
from chatd.transports.websocket.interfaces import Dialect

#: Seconds within which an upgrade must be complete, as on stock servers.
UPGRADE_WITHIN = 10.0
CLOSE_NORMAL = 1000

_PING = text_frame(EngineKind.PING.value)
_PROBE = EnginePacket(EngineKind.PING, "probe")
_PROBED = text_frame(bytes(EnginePacket(EngineKind.PONG, "probe")))
_UPGRADE = EnginePacket(EngineKind.UPGRADE)


class EngineSocket(WebSocketConnection):
    """One WebSocket connection; see `chatd.transports.socketio.session.Carrier`."""

    factory: EngineFactory
    #: The session that it carries, if it does yet.
    session: EngineSession | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.session is not None:
            self.identity = self.session.talk.identity  # for the access log
        super().connectionLost(reason)
        if self.session is not None:
            self.session.let_go()
            self.session = None

    def negotiate(self, protocols: list[str]) -> str | None:
        self.dialect = self.factory.dialect(self, False)
        # browsers close a WebSocket if no offered subprotocol is accepted; stock servers accept any
        return protocols[0] if protocols else None

    def ping(self) -> None:
        self.outlet.write(_PING)

    def client_closes(self) -> None:
        """See `chatd.transports.socketio.session.Carrier`."""
        self.sendClose(CLOSE_NORMAL)

    def refuse_packet(self, error: BadPacket) -> None:
        """Close the connection because of a bad packet."""
        self.note(bad_request(str(error)))
        self.sendClose(CLOSE_BAD_REQUEST, str(error))

    def note(self, error: ChatError) -> None:
        if self.session is not None:
            self.identity = self.session.talk.identity
        super().note(error)


class EngineFactory(WebSocketFactory):
    """Makes WebSocket connections that carry ``sessions``."""

    protocol = EngineSocket
    kind = "socketio_websocket"

    def __init__(
        self,
        reactor: IReactorTime,
        chat: Chat,
        admission: Admission,
        metrics: Metrics,
        max_frame: int,
    ) -> None:
        super().__init__(reactor, chat, admission, metrics, self._carry, max_frame)
        self.sessions = Sessions()

    def _carry(self, connection: EngineSocket, legacy: bool) -> Dialect:
        sid = connection.parameter("sid")
        if sid is None:
            username = self.admission.rights.username(connection.parameter)
            credentials = Credentials(connection.logged.address, connection.token, username)
            return FreshDialect(connection, credentials)
        try:
            return ProbeDialect(connection, self.sessions.polling(sid))
        except EngineFault as error:
            raise bad_request(f"{error.fault.message}.") from None


class EngineDialect:
    """A connection that carries a session; see `chatd.transports.websocket.interfaces.Dialect`."""

    session: EngineSession

    def __init__(self, connection: EngineSocket) -> None:
        self._connection = connection

    def opened(self) -> None:
        """The connection is open. It carries a session once there is one."""

    def received(self, payload: bytes, binary: bool) -> None:
        try:
            packet = EnginePacket(EngineKind.BINARY) if binary else EnginePacket.read(payload)
            self.session.take(packet)
        except BadPacket as error:
            self._connection.refuse_packet(error)

    def writable(self) -> None:
        self.session.talk.writable()

    def blocked(self) -> None:
        self.session.talk.blocked()

    def drain(self, retry: int) -> None:
        self.session.talk.drain(retry)

    def closed(self) -> None:
        self.session.closed()
        self.session.forget()


class FreshDialect(EngineDialect):
    """A connection with a new session of its own."""

    def __init__(self, connection: EngineSocket, credentials: Credentials) -> None:
        super().__init__(connection)
        self._credentials = credentials

    def opened(self) -> None:
        factory = self._connection.factory
        session = factory.sessions.add(factory, self._connection, self._credentials)
        del self._credentials  # of which the session keeps what it needs
        self.session = self._connection.session = session
        session.open()


class ProbeDialect:
    """A connection that may take over a session that polls: it answers the client's probe, and
    takes over when the client says so. See `chatd.transports.websocket.interfaces.Dialect`."""

    def __init__(self, connection: EngineSocket, polling: PollingLink) -> None:
        self._connection = connection
        self._polling = polling
        self._session = polling.session
        self._probed = False
        self._due: Deadline | None = None

    def opened(self) -> None:
        if self._session.probe is not None or not self._polling.goes_on:
            self._connection.sendClose(CLOSE_BAD_REQUEST, "the session is taken over already")
            return
        self._session.probe = self
        deadlines = self._connection.factory.admission.deadlines
        self._due = deadlines.after(UPGRADE_WITHIN, self.give_up)

    def received(self, payload: bytes, binary: bool) -> None:
        try:
            packet = EnginePacket(EngineKind.BINARY) if binary else EnginePacket.read(payload)
            self._take(packet)
        except BadPacket as error:
            self._connection.refuse_packet(error)

    def _take(self, packet: EnginePacket) -> None:
        if packet == _PROBE and not self._probed:
            self._probed = True
            self._connection.outlet.write(_PROBED)
            self._polling.probed()
        elif packet == _UPGRADE and self._probed:
            self._take_over()
        else:
            raise BadPacket("This takes a session over: send 2probe, then 5.")

    def _take_over(self) -> None:
        self._stop()
        dialect = EngineDialect(self._connection)
        dialect.session = self._connection.session = self._session
        self._connection.dialect = dialect
        self._session.move(self._connection)
        self._polling.hand_over(self._connection)
        dialect.writable()

    def _stop(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
            self._session.probe = None

    def give_up(self) -> None:
        """See `chatd.transports.socketio.session.Probe`."""
        self._connection.sendClose(CLOSE_NORMAL, "no upgrade")

    def writable(self) -> None:
        """Does nothing: there are no messages before the upgrade."""

    def blocked(self) -> None:
        """See `writable`."""

    def drain(self, retry: int) -> None:
        """Does nothing: the polls are told."""

    def closed(self) -> None:
        if self._due is not None:
            self._polling.probed(False)
        self._stop()
