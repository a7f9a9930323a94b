"""What a connection was is free as soon as it has ended. Python would find it by a search of all
objects, in which nobody is served, and which would come when thousands of clients do at once."""

from __future__ import annotations

import gc
import weakref

from tests.support.engine import SocketClient
from tests.support.serving import Node, PreparedTests
from tests.support.waiting import until
from tests.support.ws_client import CLOSE

EVENTS = "/rooms/lobby/events?username=ann"
MESSAGES = "/rooms/lobby/messages"

Part = weakref.ref[object]


class EndedConnectionTests(PreparedTests):
    node: Node

    async def prepare(self) -> None:
        self.node = await self.serve("--room=lobby")
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def parts(self) -> list[Part]:
        """The node's ends of all connections."""
        ends = self.node.connections()
        self.assertTrue(ends)
        return [weakref.ref(part) for end in ends for part in (end, end.protocol)]

    async def all_gone(self, parts: list[Part]) -> None:
        """Wait until there is nothing left of ``parts``."""
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

    async def test_an_event_stream(self) -> None:
        await self.node.events(EVENTS)
        await self.ends_for_good()

    async def test_a_set_up_connection(self) -> None:
        raw = await self.node.raw("setup")
        raw.send(b'{"requestType": "createroom", "roomname": "other"}')
        await raw.take(3)
        await self.ends_for_good()
