"""State fetched at the start plus the events received equals the state fetched at the end.

The check is Zulip's: whatever a client was told, it must never have to ask again. Here the state is
a room's information, its members and its messages, and the events come over WebSocket and over
server-sent events, while others come, go and talk at random.
"""

from __future__ import annotations

import socket
from random import Random
from typing import Any

from attrs import define, field

from chatd.rooms.subscription import SubscriptionState as Place
from chatd.transports.websocket import heartbeat
from tests.support.http_client import EventStream
from tests.support.raw import Raw
from tests.support.serving import Node, ServingTests
from tests.support.waiting import pause, together
from tests.support.ws_client import WebSocket

ACTIONS = 120
USERS = [f"user{n}" for n in range(8)]


@define
class SubscriptionState:
    """What a client shows of a room."""

    cursor: str
    members: set[str]
    count: int
    messages: list[dict[str, Any]] = field(factory=list)

    def apply(self, event: dict[str, Any]) -> None:
        if event["type"] == "message":
            self.messages.append(event)
            self.cursor = event["cursor"]
        elif event["type"] == "presence":
            self.members |= set(event["joined"])
            self.members -= set(event["left"])
            self.count = event["count"]


async def fetch(node: Node) -> SubscriptionState:
    """The room's state as anyone may ask for it."""
    info = (await node.get("/rooms/lobby")).json
    messages = (await node.get("/rooms/lobby/messages?last=1000")).json
    return SubscriptionState(
        messages["cursor"], set(info["members"]), info["count"], messages["messages"]
    )


class Crowd:
    """Others who come, go and talk."""

    def __init__(self, node: Node, random: Random) -> None:
        self.node = node
        self.random = random
        self.here: list[WebSocket] = []
        self.said = 0

    async def act(self) -> None:
        what = self.random.choice(["come", "come", "go", "say", "say", "say", "leave", "time"])
        if what == "come" or not self.here:
            user = self.random.choice(USERS)
            self.here.append(await self.node.chat(user, "lobby"))
            return
        one = self.random.choice(self.here)
        if what == "say":
            for _ in range(self.random.choice([1, 1, 30])):
                self.said += 1
                await one.say("lobby", f"text {self.said}", id=f"id{self.said}")
        elif what == "go":
            self.here.remove(one)
            one.raw.abort()
        elif what == "leave":
            one.send({"type": "leave", "room": "lobby"})
            await one.find("left")
        else:
            self.node.clock.advance(self.random.choice([0.2, 1.1]))
            await pause()

    async def stall(self) -> None:
        """Talk until a subscriber, of which the test has stopped reading, is left behind."""
        if not self.here:
            self.here.append(await self.node.chat("user0", "lobby"))
        [room] = self.node.service.chat.rooms._rooms.values()
        for _ in range(200):
            if any(s.state is Place.BEHIND for s in room.subscriptions):
                return
            self.said += 1
            await self.here[0].say("lobby", f"{self.said} {'x' * 15000}", id=f"id{self.said}")
        raise AssertionError("never left behind")

    async def pass_through(self) -> None:
        """Many come and go, more of them than names are remembered for anyone."""
        for n in range(12):
            presence = self.node.service.chat.presence
            for here in (presence.enter, presence.leave):
                for k in range(100):
                    here("lobby", f"passing-{n}-{k}")
                self.node.clock.advance(1.1)
                await pause()

    async def thin_out(self, number: int) -> None:
        """All but so many connections go."""
        while len(self.here) > number:
            self.here.pop(0).raw.abort()
        await pause(0.02)


class StateTests(ServingTests):
    """Each with several seeds, so that a failure can be repeated."""

    async def crowd(self, seed: int, limit: int = 200) -> Crowd:
        # on a busy machine one who is not chosen for long would not answer a ping in time
        self.patch(heartbeat, "PING_EVERY", 3600.0)
        node = await self.serve("--rate=10000/s")
        node.service.chat.presence.limit = limit
        crowd = Crowd(node, Random(seed))
        for _ in range(20):
            await crowd.act()
        return crowd

    async def settled(self, crowd: Crowd) -> SubscriptionState:
        """The state at the end, once all that is coming has been told."""
        for _ in range(3):
            await pause(0.02)
            crowd.node.clock.advance(1.1)
        await crowd.node.post("/rooms/lobby/messages?username=zed", {"text": "end"})
        return await fetch(crowd.node)

    def equal(self, state: SubscriptionState, end: SubscriptionState) -> None:
        self.assertEqual(state.messages, end.messages)
        self.assertEqual(state.cursor, end.cursor)
        self.assertEqual(state.members, end.members)
        self.assertEqual(state.count, end.count)
        self.assertGreater(len(end.messages), 50)

    async def test_over_websocket(self) -> None:
        for seed in range(2):
            crowd = await self.crowd(seed)
            socket = await crowd.node.chat("watcher")
            joined = await socket.join("lobby")
            state = SubscriptionState(joined["cursor"], set(joined["members"]), joined["count"])
            state.messages = await self.before(crowd.node, joined["cursor"])
            for n in range(ACTIONS):
                await crowd.act()
                if n == ACTIONS // 2:  # stalls for a while, and is told later
                    socket.raw.transport.pauseProducing()
                elif n == ACTIONS * 3 // 4:
                    socket.raw.transport.resumeProducing()
            end = await self.settled(crowd)
            while not state.messages or state.messages[-1]["text"] != "end":
                state.apply(await socket.receive())
            for event in await socket.fence():
                state.apply(event)
            self.equal(state, end)

    def tighten(self, node: Node, raw: Raw) -> None:
        """Let little fit between the node and a client that does not read."""
        raw.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for end in node.connections():
            end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        raw.transport.pauseProducing()

    async def test_through_the_limit_and_stalled_over_websocket(self) -> None:
        for seed in range(4, 6):
            crowd = await self.crowd(seed, limit=4)
            watcher = await crowd.node.chat("watcher")
            joined = await watcher.join("lobby")
            state = SubscriptionState(joined["cursor"], set(joined["members"]), joined["count"])
            state.messages = await self.before(crowd.node, joined["cursor"])
            for n in range(ACTIONS):
                await crowd.act()
                if n == ACTIONS // 2:
                    self.tighten(crowd.node, watcher.raw)
                    await crowd.stall()
                    await crowd.pass_through()
            await crowd.thin_out(2)
            end = await self.settled(crowd)
            watcher.raw.transport.resumeProducing()
            while not state.messages or state.messages[-1]["text"] != "end":
                state.apply(await watcher.receive())
            for event in await watcher.fence():
                state.apply(event)
            self.assertLessEqual(end.count, 4)
            self.equal(state, end)

    async def test_through_the_limit_and_stalled_over_an_event_stream(self) -> None:
        for seed in range(7, 9):
            crowd = await self.crowd(seed, limit=4)
            stream = await crowd.node.events("/rooms/lobby/events?username=watcher")
            await stream.block()
            state = await fetch(crowd.node)
            start = int(state.cursor.partition(":")[2])
            for n in range(ACTIONS):
                await crowd.act()
                if n == ACTIONS // 2:
                    self.tighten(crowd.node, stream._http.raw)
                    await crowd.stall()
                    await crowd.pass_through()
            await crowd.thin_out(2)
            end = await self.settled(crowd)
            stream._http.raw.transport.resumeProducing()
            events: list[dict[str, Any]] = []
            await self.read(stream, events)
            for event in events:
                seen = event.get("cursor", "").partition(":")[2]
                if not seen or int(seen) > start:
                    state.apply(event)
            self.assertLessEqual(end.count, 4)
            self.equal(state, end)

    async def before(self, node: Node, cursor: str) -> list[dict[str, Any]]:
        """The messages up to ``cursor``."""
        messages = (await fetch(node)).messages
        offset = int(cursor.partition(":")[2])
        return [m for m in messages if int(m["cursor"].partition(":")[2]) <= offset]

    async def test_over_an_event_stream(self) -> None:
        for seed in range(2, 4):
            crowd = await self.crowd(seed)
            stream = await crowd.node.events("/rooms/lobby/events?username=watcher")
            await stream.block()
            events: list[dict[str, Any]] = []
            reading = together(self.read(stream, events))
            state = await fetch(crowd.node)
            start = int(state.cursor.partition(":")[2])
            for _ in range(ACTIONS):
                await crowd.act()
            end = await self.settled(crowd)
            await reading
            for event in events:
                seen = event.get("cursor", "").partition(":")[2]
                if not seen or int(seen) > start:
                    state.apply(event)
            self.equal(state, end)

    async def read(self, stream: EventStream, events: list[dict[str, Any]]) -> None:
        while not events or events[-1].get("text") != "end":
            events.append((await stream.next()).data)
