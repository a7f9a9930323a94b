"""A WebSocket connection (RFC 6455) by Autobahn: handshakes, limits, and what all dialects share.

A connection speaks `chatd.transports.websocket.chat_v1` if it asks for that subprotocol, and the
original's `chatd.transports.websocket.legacy` if it asks for none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from chatd.access.proxies import UNIX
from chatd.access.rate_limit import too_fast
from chatd.access.rights import NOBODY
from chatd.access.tokens import shown_token
from chatd.net.tcp import behind, tune
from chatd.protocol.errors import ChatError, bad_request
from chatd.protocol.json import dump
from chatd.timing.timer_wheel import Deadline
from chatd.transports.encodings import text_frame
from chatd.transports.pairs import Pairs
from chatd.transports.websocket.close_codes import POLICY, RESTART
from chatd.transports.websocket.frames import Frames
from chatd.transports.websocket.heartbeat import Heartbeat
from chatd.transports.websocket.interfaces import Dialect, Home
from chatd.transports.websocket.logged import Logged
from chatd.transports.writer import Writer

SUBPROTOCOL = "chatd.v1"
#: Requests of one connection under way; with as many, reading stops until some are answered.
UNDER_WAY = 64
#: Seconds for the opening handshake, and for the closing one.
HANDSHAKE = 10

_NO_PARAMETERS = Pairs.of(())


class WebSocketConnection(Frames):
    """One WebSocket connection."""

    factory: Home
    query: Pairs
    http_request_uri: str
    token: str | None
    identity = NOBODY
    dialect: Dialect
    _due: Deadline
    _heartbeat: Heartbeat | None = None
    _release: Callable[[], None] | None = None
    _close_socket: Callable[[], None] | None = None
    _under_way = 0
    _draining = False

    # -- handshake ---------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        tune(self.transport)
        self.maxFramePayloadSize = self.maxMessagePayloadSize = self.factory.max_frame
        admission = self.factory.admission
        unread, answers = admission.unread, self.factory.chat.answers
        self.outlet = Writer(
            self.transport, self._writable, self._blocked, self.consumeData, unread, answers
        )
        self.logged = Logged(peer := self._peer())
        self.place = admission.turns.place(peer, self.go, self._give_up)
        self.place.behind = partial(behind, self.transport)
        self._shake_hands()
        try:
            self._close_socket = self.factory.admission.open(self.transport)
        except ChatError as error:
            self.note(error)
            self.transport.abortConnection()
        super().connectionMade()

    def _peer(self) -> str:
        return getattr(self.transport.getPeer(), "host", UNIX)

    def _shake_hands(self) -> None:
        """Begin an opening or a closing handshake, which may take `HANDSHAKE` seconds."""
        self._due = self.factory.admission.deadlines.after(
            HANDSHAKE, self.transport.abortConnection
        )

    def _writable(self) -> None:
        if self.state == self.STATE_OPEN:
            self.dialect.writable()

    def _blocked(self) -> None:
        if self.state == self.STATE_OPEN:
            self.dialect.blocked()

    def dataReceived(self, data: bytes) -> None:
        self.place.arrived()
        # Autobahn's own formats two arguments for a log line, whether it is logged or not
        self._dataReceived(data)

    def _give_up(self) -> None:
        """Close: the client was over its allowance for too long."""
        self.note(too_fast())
        self.leave_line()
        self.sendClose(POLICY, "too many requests")

    def admit(self, request: ConnectionRequest) -> str | None:
        query = self.http_request_uri.partition("?")[2]
        self.query = Pairs.parse(query.encode("latin-1", "replace"))
        admission = self.factory.admission
        headers = {**request.headers, "origin": self.origin}
        secure = bool(self.transport_details.is_secure)
        peer = getattr(self.transport.getPeer(), "host", None)
        self.logged.begin(self.http_request_path, headers.get("traceparent"), admission)
        policy = admission.origin_policy
        caller = policy.proxies.caller(peer, secure, headers.get)
        self.logged.address = caller.address
        policy.judge(caller, headers.get)
        self.place.moved(caller.address)
        self.factory.chat.check_draining()
        self.token = shown_token(headers.get("authorization"), self.parameter("token"))
        subprotocol = self.negotiate(request.protocols)
        self._release = admission.connections.admit(caller.address)
        return subprotocol

    def negotiate(self, protocols: list[str]) -> str | None:
        """Choose the dialect, for a client that offers the subprotocols ``protocols``; the one that
        is agreed on. `ChatError` for a client that is not let in."""
        legacy = not protocols
        if not legacy and SUBPROTOCOL not in protocols:
            raise bad_request(f"The only subprotocol here is {SUBPROTOCOL}.")
        rights = self.factory.admission.rights
        username = rights.username(self.parameter)
        identity = rights.identify_or_guest(self.token, username, legacy)
        self.identity = identity.at(self.logged.address)
        self.dialect = self.factory.dialect(self, legacy)
        return None if legacy else SUBPROTOCOL

    def ping(self) -> None:
        """Ask the client for a sign of life, answered to `WebSocketConnection.pong`."""
        self.sendPing()

    def parameter(self, name: str) -> str | None:
        """A parameter of the URL's query, None if it is not given; the first of several. Ask before
        the connection has opened: then they are let go of."""
        return self.query.get(name)

    def refused(self, error: ChatError, status: int) -> None:
        if not self.logged.began:  # it was no request that a proxy could have said more of
            self.logged.address = self._peer()
        self.note(error)
        self.logged.refused(self.factory.admission, error, status)

    def note(self, error: ChatError) -> None:
        """See `chatd.transports.dialect.ClientLink`."""
        what, user = f"WEBSOCKET {self.logged.path}", self.identity.user
        refusals = self.factory.metrics.refusals
        refusals.add(error.code.word, self.logged.address, what, error.text, user)

    # -- an open connection ------------------------------------------------------------------------

    def onOpen(self) -> None:
        deadlines = self.factory.admission.deadlines
        self._due.cancel()
        self._heartbeat = Heartbeat(
            deadlines, self.transport, self.outlet, self.ping, self.transport.abortConnection
        )
        self.factory.opened(self)
        self.dialect.opened()
        self.forget_request()

    def forget_request(self) -> None:
        super().forget_request()
        self.query, self.token = _NO_PARAMETERS, None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state == self.STATE_OPEN:
            self.logged.traced(self.dialect.received, payload, isBinary)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Begin or answer the closing handshake. Nothing is sent or received after it."""
        was_open = self.state == self.STATE_OPEN
        super().sendCloseFrame(code, reasonUtf8, isReply)
        if was_open:
            self._shake_hands()
            self.outlet.close()
            self.dialect.closed()

    def onPong(self, payload: bytes) -> None:
        self.pong()

    def pong(self) -> None:
        """The client gave a sign of life."""
        if self._heartbeat is not None:
            self._heartbeat.pong()

    def send(self, value: dict[str, Any]) -> None:
        """Send one JSON object."""
        self.outlet.write(text_frame(dump(value)))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Called by Autobahn for everything that it sends."""
        self.outlet.write(data)

    def work(self, doing: Deferred[None]) -> None:
        """Count ``doing`` as a request under way; stop reading while there are `UNDER_WAY`."""
        if doing.called:
            return
        self._under_way += 1
        if self._under_way == UNDER_WAY:
            self.outlet.stop_reading()
        doing.addBoth(self._done)

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self._under_way > 0

    def drain(self, retry: int) -> None:
        """Say goodbye, and close once what is in hand has been answered."""
        self.dialect.drain(retry)
        self._draining = True
        if not self._under_way:
            self.sendClose(RESTART, "restart")

    def _done(self, result: Any) -> Any:
        self._under_way -= 1
        if self._draining and not self._under_way:
            self.sendClose(RESTART, "restart")
        if self._under_way == UNDER_WAY - 1:
            self.outlet.start_reading()
        return result

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.end(reason)
        self._due.cancel()
        self.place.leave()
        self.outlet.lost()
        self.factory.admission.unfinished.release(self.transport)
        for release in (self._release, self._close_socket):
            if release is not None:
                release()
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
            self.factory.lost(self)
            self.logged.ended(self.factory.admission, self.identity.user)
            self.dialect.closed()
        if hasattr(self, "dialect"):  # a handshake may be refused after it was chosen
            del self.dialect  # which refers to this
