"""What a connection was is free as soon as it has ended. Python would find it by a search of all
objects, in which nobody is served, and which would come when thousands of clients do at once."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from chatd.access.rate_limit import BAD_IN_A_ROW
from chatd.protocol.errors import ChatError, Code
from chatd.service.chat import Chat
from chatd.service.outcomes import Receipt
from chatd.timing.timer_wheel import STOOD_STILL
from chatd.transports.http.connection import HTTPConnection
from chatd.transports.websocket.connection import WebSocketConnection
from chatd.transports.websocket.heartbeat import PING_EVERY, PONG_WITHIN
from tests.support.engine import PollingClient, SocketClient
from tests.support.serving import Node, PreparedTests
from tests.support.tokens import Issuer
from tests.support.waiting import pause, until
from tests.support.ws_client import CLOSE

EVENTS = "/rooms/lobby/events?username=ann"
MESSAGES = "/rooms/lobby/messages"

Part = weakref.ref[object]


class EndedConnectionTests(PreparedTests):
    node: Node

    async def prepare(self) -> None:
        self.node = await self.serve("--room=lobby")
        #: All connections of clients, in the order in which they were made.
        self.made: list[Part] = []
        self.watch(WebSocketConnection)
        self.watch(HTTPConnection)
        gc.disable()
        self.addCleanup(gc.enable)

    def watch(self, kind: type[Protocol]) -> None:
        """Add all connections of ``kind`` to `made`."""
        makes = kind.makeConnection

        def make(connection: Protocol, transport: Any) -> None:
            self.made.append(weakref.ref(connection))
            makes(connection, transport)

        self.patch(kind, "makeConnection", make)

    def parts(self) -> list[Part]:
        """The node's ends of all connections."""
        ends = self.node.connections()
        self.assertTrue(ends)
        return [weakref.ref(part) for end in ends for part in (end, end.protocol)]

    async def all_gone(self, parts: list[Part], search: bool = False) -> None:
        """Wait until there is nothing left of ``parts``, after a ``search`` of all objects or
        without."""
        # the node's clock looks through what it has called now and then, and drops it
        clocks: tuple[Any, ...] = (self.node.service.chat.clock, self.node.clock)
        for clock in clocks:
            clock._calls = [call for call in clock._calls if call.active()]
        if search:
            gc.collect()
        await until(lambda: not [part for part in parts if part() is not None])

    async def ends_for_good(self) -> None:
        """Hang up, and wait until there is nothing left of the node's ends."""
        parts = self.parts()
        await self.node.hang_up()
        await self.all_gone(parts)

    async def test_a_websocket(self) -> None:
        ann = await self.node.chat("ann", "lobby")
        await ann.say("lobby", "hello")
        await self.ends_for_good()

    async def test_a_websocket_that_was_closed(self) -> None:
        ann = await self.node.chat("ann", "lobby")
        parts = self.parts()
        ann.frame((1000).to_bytes(2), CLOSE)
        await ann.closed()
        await self.all_gone(parts)

    async def test_a_websocket_of_the_original(self) -> None:
        await self.node.websocket("/?username=ann&roomname=lobby", protocol=None)
        await self.ends_for_good()

    async def test_a_websocket_on_the_other_port(self) -> None:
        await self.node.websocket("/ws?username=ann&roomname=lobby", "http")
        await self.ends_for_good()

    async def refused(self, status: int, **how: Any) -> None:
        """A handshake that is refused with ``status``, on either port."""
        for path, port in (("/?username=ann", "websocket"), ("/ws?username=ann", "http")):
            ws = await self.node.websocket(path, port, **how)
            self.assertEqual(ws.status, status)
        await self.node.hang_up()
        self.assertGreaterEqual(len(self.made), 2)
        await self.all_gone(self.made)

    async def test_a_websocket_of_an_unknown_subprotocol(self) -> None:
        await self.refused(400, protocol="other")

    async def test_a_websocket_of_another_site(self) -> None:
        await self.refused(403, Origin="http://evil.example")

    async def test_a_websocket_too_many(self) -> None:
        self.node.service.admission.connections.limit = 0
        await self.refused(503)

    async def test_a_websocket_of_the_original_too_many(self) -> None:
        self.node.service.admission.connections.limit = 0
        await self.refused(503, protocol=None)

    async def test_a_request_that_is_no_handshake(self) -> None:
        raw = await self.node.raw("websocket")
        raw.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await raw.until(b" 426 ")
        await self.node.hang_up()
        await self.all_gone(self.made)

    async def test_half_a_handshake(self) -> None:
        raw = await self.node.raw("websocket")
        raw.send(b"GET / HTTP/1.1\r\nHost: ")
        await until(self.node.connections)
        await self.ends_for_good()

    async def test_half_a_message(self) -> None:
        ann = await self.node.chat("ann", "lobby")
        ann.raw.send(bytes([0x01, 0x80 | 0x05]) + bytes(4) + b"hello")
        await self.ends_for_good()

    async def test_socket_io(self) -> None:
        ann = await SocketClient.open(self.node, username="ann")
        await ann.connect()
        await ann.emit("join", {"room": "lobby"})
        await ann.find("joined")
        await self.ends_for_good()

    async def polling(self) -> tuple[PollingClient, list[Part]]:
        """A session that polls and has joined a room; the parts of it."""
        ann = await PollingClient.open(self.node, username="ann")
        await ann.connect()
        await ann.ask("join", {"room": "lobby"})
        [link] = self.node.service.ways.socketio._sessions.all_polling()
        parts = (link, link.outlet, link.session, link.session.talk)
        return ann, [weakref.ref(part) for part in parts]

    async def test_socket_io_by_polls_that_the_client_ends(self) -> None:
        ann, parts = await self.polling()
        await ann.send("1")
        await self.all_gone(parts)

    async def test_socket_io_by_polls_that_ends_with_time(self) -> None:
        _, parts = await self.polling()
        for seconds in (PING_EVERY, PONG_WITHIN):
            self.node.clock.advance(seconds + 1)
            await pause()
        await self.all_gone(parts)

    async def test_socket_io_by_polls_of_a_node_that_was_stopped(self) -> None:
        """The answer to its ping may wait to be read: the session ends with the next one."""
        _, parts = await self.polling()
        for seconds in (PING_EVERY, PONG_WITHIN + STOOD_STILL):
            self.node.clock.advance(seconds + 1)
            await pause()
        self.assertEqual(len(self.node.service.ways.socketio._sessions.all_polling()), 1)
        self.node.clock.advance(PONG_WITHIN + 1)
        await self.all_gone(parts)

    async def test_socket_io_by_polls_that_is_refused(self) -> None:
        ann, parts = await self.polling()
        self.assertEqual((await ann.post("nonsense")).status, 400)
        await self.all_gone(parts)

    async def test_socket_io_by_polls_that_the_node_ends(self) -> None:
        ann, parts = await self.polling()
        for _ in range(BAD_IN_A_ROW):
            await ann.emit("nonsense")
        while await ann.packet() != "1":
            pass
        await self.all_gone(parts)

    async def test_socket_io_by_polls_with_a_request_under_way(self) -> None:
        """It is counted for its user when it fails, though the session has ended."""
        ann, parts = await self.polling()
        held = [Deferred[Receipt]()]
        self.patch(Chat, "publish", lambda *_: held[0])
        await ann.emit("message", {"room": "lobby", "text": "hello"})
        await ann.send("1")
        held.pop().errback(ChatError(Code.FORBIDDEN, "no"))
        [refusal] = self.node.service.metrics.refusals
        self.assertEqual((refusal.code, refusal.user), ("forbidden", "ann"))
        await self.all_gone(parts)

    async def test_socket_io_that_goes_on_over_websocket(self) -> None:
        ann, parts = await self.polling()
        upgraded = await ann.upgrade()
        await upgraded.ask("join", {"room": "lobby"})
        link, outlet, *rest = parts
        await self.all_gone([link, outlet])
        await self.node.hang_up()
        await self.all_gone(rest)

    async def test_an_answered_request(self) -> None:
        self.node.kept = []
        await self.node.get("/rooms?username=ann")
        self.assertTrue(self.node.connections())
        await self.ends_for_good()

    async def test_half_a_request(self) -> None:
        raw = await self.node.raw("http")
        raw.send(b"GET /rooms HTTP/1.1\r\nHost: ")
        await until(self.node.connections)
        await self.ends_for_good()

    async def test_half_a_body(self) -> None:
        path = f"{MESSAGES}?username=ann"
        await self.node.ask("POST", path, b'{"text": "he', Content_Length="100")
        await until(lambda: self.node.service.ways.api.in_hand)
        await self.ends_for_good()

    async def test_a_poll_that_waits(self) -> None:
        cursor = (await self.node.get(MESSAGES)).json["cursor"]
        path, ways = f"{MESSAGES}?after={cursor}&wait=30", self.node.service.ways
        self.node.kept = []
        await self.node.ask("GET", path)
        await until(lambda: ways.polls.in_hand)
        await self.node.ask("GET", path, Connection="close")  # which is twisted.web's
        await until(lambda: ways.api.leaving)
        await self.ends_for_good()

    async def test_polls_that_wait_until_their_token_expires(self) -> None:
        issuer = Issuer(self.mktemp())
        self.node = node = await self.serve("--room=lobby", *issuer.options)
        shown = f"token={issuer.token('ann', node.clock.seconds() + 20)}"
        cursor = (await node.get(f"{MESSAGES}?{shown}")).json["cursor"]
        path, api = f"{MESSAGES}?{shown}&after={cursor}&wait=60", node.service.ways.api
        polls = [await node.ask("GET", path, Connection="close") for _ in range(2)]
        await until(lambda: api.in_hand == len(polls))
        ends: list[Any] = [end.protocol for end in node.connections()]
        asked = [weakref.ref(request) for end in ends for request in end.requests]
        self.assertEqual(len(asked), len(polls))
        del ends
        node.clock.advance(21)
        for poll in polls:
            self.assertEqual((await poll.answer()).status, 401)
        await node.hang_up()
        await until(lambda: not node.connections())
        # an error and the frames that it went through refer to one another
        await self.all_gone(asked, search=True)

    async def test_an_event_stream(self) -> None:
        await self.node.events(EVENTS)
        await self.ends_for_good()

    async def test_a_set_up_connection(self) -> None:
        raw = await self.node.raw("setup")
        raw.send(b'{"requestType": "createroom", "roomname": "other"}')
        await raw.take(3)
        await self.ends_for_good()
