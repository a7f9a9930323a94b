"""The route ``/socket.io/`` of the HTTP port, for stock Socket.IO clients."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from autobahn.twisted.resource import WebSocketResource

from chatd.access.admission import Admission
from chatd.protocol.errors import ChatError, Code
from chatd.service.chat import Chat
from chatd.telemetry.metrics import Metrics
from chatd.timing.turn_queue import in_turns
from chatd.transports.come_back import come_back, spread
from chatd.transports.http.call import Call, Handler, Reply, Route
from chatd.transports.http.upgrade import hand_over, wants_websocket
from chatd.transports.socketio.engine_packets import BadPacket, EnginePacket, read_payload
from chatd.transports.socketio.faults import (
    BAD_METHOD,
    BAD_REQUEST,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED,
    EngineFault,
    FaultCode,
)
from chatd.transports.socketio.polling import PollingLink
from chatd.transports.socketio.sockets import EngineFactory
from chatd.transports.socketio.talk import Credentials

PATHS = ("/socket.io/", "/socket.io")
#: The version of Engine.IO that is implemented.
VERSION = "4"
#: The media type of payloads; a post of any type but `BYTES` is read as this one.
TEXT = "text/plain; charset=UTF-8"
BYTES = "application/octet-stream"


class SocketIO:
    """The Socket.IO transport of one node."""

    def __init__(
        self, reactor: Any, chat: Chat, admission: Admission, metrics: Metrics, max_frame: int
    ) -> None:
        self._check_draining = chat.check_draining
        self._sockets = EngineFactory(reactor, chat, admission, metrics, max_frame)
        self._sessions = self._sockets.sessions
        self._resource = WebSocketResource(self._sockets)

    def set_max_frame(self, max_frame: int) -> None:
        """See `WebSocketFactory.set_max_frame`."""
        self._sockets.set_max_frame(max_frame)

    def routes(self) -> list[Route]:
        """The routes of this transport. A session that polls learns from its last poll that the
        node drains; all else is refused then."""
        methods = {"GET": self._said(self._get), "POST": self._said(self._post)}
        others = self._said(self._other)
        unheard = {"POST": self._unheard}
        return [Route(path, methods, unheard=unheard, others=others, drains=True) for path in PATHS]

    def _unheard(self, call: Call) -> None:
        """A post was refused by what its head says, or at a limit. Its packets are lost, and stock
        clients take any status but 200 for the end of the session; so that is what it is here."""
        with suppress(EngineFault, ChatError):
            self._polling(call).lose()

    @property
    def in_hand(self) -> int:
        """How many sessions have requests under way."""
        busy = sum(polling.is_busy for polling in self._sessions.all_polling())
        return self._sockets.in_hand + busy

    @property
    def leaving(self) -> int:
        """How many sessions are still open."""
        return self._sockets.leaving + len(self._sessions.all_polling())

    def drain(self, others: int) -> None:
        """Send every client away, each with a time of its own to come back."""
        within, polling = spread(self.leaving, others), self._sessions.all_polling()
        in_turns(self._sockets.reactor, polling, lambda one: one.drain(come_back(within=within)))
        self._sockets.drain(others)

    def _said(self, handler: Handler) -> Handler:
        """Wrap ``handler``: its `EngineFault` becomes the answer that the protocol asks for."""

        async def say(call: Call) -> Reply | None:
            try:
                self._check_query(call)
                return await handler(call)
            except EngineFault as error:
                return self._refused(call, error.fault)
            except ChatError as error:
                if error.code is not Code.BAD_REQUEST:
                    raise
                return self._refused(call, FaultCode(BAD_REQUEST.code, error.text))

        return say

    def _refused(self, call: Call, fault: FaultCode) -> Reply:
        call.note(Code.BAD_REQUEST.word, fault.message)
        return Reply(400, {"code": fault.code, "message": fault.message})

    def _check_query(self, call: Call) -> None:
        if call.query("transport") not in ("polling", "websocket"):
            raise EngineFault(UNKNOWN_TRANSPORT)
        if call.query("EIO") != VERSION:
            raise EngineFault(UNSUPPORTED)

    async def _other(self, call: Call) -> Reply:
        self._polling(call)
        raise EngineFault(BAD_REQUEST)

    def _polling(self, call: Call) -> PollingLink:
        sid = call.query("sid")
        if sid is None:
            raise EngineFault(BAD_METHOD)
        polling = self._sessions.polling(sid)
        if call.query("transport") != "polling":
            raise EngineFault(BAD_REQUEST)
        return polling

    def _asked(self, call: Call, method: str) -> PollingLink:
        """The session that a poll or a post is for. Raises `EngineFault`."""
        polling = self._polling(call)
        polling.check_new(method, call.query("t"))
        return polling

    async def _get(self, call: Call) -> Reply | None:
        if wants_websocket(call) or call.query("sid") is None:
            self._check_draining()
        if wants_websocket(call):
            self._upgrade(call)
            return None
        if call.asks_for_head:
            return await self._other(call)
        if call.query("sid") is not None:
            polling = self._asked(call, "GET")
        elif call.query("transport") == "polling":
            polling = self._open(call)
        else:
            raise EngineFault(BAD_REQUEST)
        call.request.forget_head()  # it may wait for long
        return Reply(200, await call.with_client(polling.poll()), TEXT)

    def _open(self, call: Call) -> PollingLink:
        """Begin a session, which counts as one connection until it ends."""
        username = call.admission.rights.username(call.query)
        credentials = Credentials(call.caller.address, call.token, username)
        release = call.admission.connections.admit(call.caller.address)
        timestamp = call.query("t")
        polling = PollingLink(self._sockets, call.caller.address, release, timestamp)
        polling.session = self._sessions.add(self._sockets, polling, credentials)
        polling.session.open("websocket")
        return polling

    def _upgrade(self, call: Call) -> None:
        sid = call.query("sid")
        if call.query("transport") != "websocket":
            raise EngineFault(BAD_REQUEST)
        if sid is not None:
            self._sessions.polling(sid).check_probe()
        hand_over(call, self._resource)

    async def _post(self, call: Call) -> Reply:
        self._check_draining()
        polling = self._asked(call, "POST")

        async def packets() -> list[EnginePacket]:
            if call.media_type().name == BYTES:
                raise BadPacket("Send text.")
            return read_payload(await call.body())

        await call.with_client(polling.post(packets, call.request.channel.line.next))
        return Reply(200, b"ok", "text/html")
