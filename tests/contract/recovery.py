"""Where readers resume: one table for all brokers and all transports.

Each row prepares a room and says from where a reader starts and what it must be given. The suite
then reads that way over WebSocket, server-sent events and long-poll at once, from a real node.
``GAP`` stands wherever a reader is told that messages are gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import content_key
from chatd.protocol.timestamps import format_time, parse_time
from chatd.rooms.subscription import SubscriptionState
from chatd.transports.socketio import polling
from chatd.transports.websocket import heartbeat
from tests.contract.readings import (
    GAP,
    STREAMING,
    TRANSPORTS,
    PollReading,
    Reading,
    Refused,
    SocketReading,
    Start,
    names,
)
from tests.support.publishing import publish
from tests.support.serving import Node, ServingTests
from tests.support.waiting import pause, together, until


class RecoverySuite(ServingTests, ABC):
    """The table; what derives from it makes nodes on its broker."""

    __test__ = False

    # -- hooks

    @abstractmethod
    async def node_on(self, *options: str) -> Node:
        """A running node on an empty broker, with a room ``lobby``."""

    @abstractmethod
    async def another(self, node: Node) -> Node:
        """Another node on the same broker; where there can be only one, the same one restarted."""

    async def batch(self, node: Node, texts: Sequence[str]) -> None:
        """Store messages in the lobby as one transaction."""
        await together(*(self._publish(node, text) for text in texts))

    # -- helpers

    async def say(self, node: Node, *texts: str, room: str = "lobby") -> None:
        """Publish one after the other, past the limits of a connection; return once the node's
        readers have been given the last."""
        for text in texts:
            await self._publish(node, text, room)
        # on a busy machine a record may come late, and the room read again after its last one:
        # for a moment it is not level then
        there = node.service.chat.rooms.attached(node.service.chat.directory.get(room))
        assert there is not None
        key = content_key("ann", _id(texts[-1]))
        await until(lambda: there._publisher._window.knows(key, 0))

    async def _publish(self, node: Node, text: str, room: str = "lobby") -> None:
        await publish(node.service.chat, "ann", room, text, _id(text))

    async def fill(self, node: Node, start: int, stop: int) -> None:
        """Publish many at once, in order."""
        await together(*(self._publish(node, text) for text in names(start, stop - 1)))
        await self.say(node, f"m{stop - 1}")

    async def shown(self, node: Node, n: int = 1000) -> list[dict[str, Any]]:
        """The newest ``n`` messages, oldest first."""
        answer = await node.get(f"/rooms/lobby/messages?last={n}")
        messages: list[dict[str, Any]] = answer.json["messages"]
        return messages

    async def now(self, node: Node) -> Cursor:
        """The room's present cursor."""
        return Cursor.parse((await node.get("/rooms/lobby/messages")).json["cursor"])

    async def cursors(self, node: Node) -> list[str]:
        return [m["cursor"] for m in await self.shown(node)]

    async def texts(self, reading: Reading, last: str) -> list[str]:
        """All that comes until the text ``last`` does, without it."""
        items: list[str] = []
        while (item := await reading.next()) != last:
            items.append(item)
        return items

    async def check(self, node: Node, start: Start, expected: Sequence[str]) -> None:
        """Read from ``start`` over each transport: ``expected``, and then what comes next."""
        self._ends = getattr(self, "_ends", 0) + 1
        last = f"end{self._ends}"
        readings = [await transport.open(node, "lobby", start) for transport in TRANSPORTS]
        await self.say(node, last)
        read = await together(*(self.texts(reading, last) for reading in readings))
        for transport, items in zip(TRANSPORTS, read, strict=True):
            self.assertEqual(items, list(expected), (transport.__name__, start))
        for reading in readings:
            await reading.close()

    async def refused(self, node: Node, start: Start) -> None:
        for transport in TRANSPORTS:
            with self.assertRaises(Refused) as caught:
                await transport.open(node, "lobby", start)
            self.assertEqual(caught.exception.args, ("bad_request",), (transport, start))

    # -- the table

    async def test_empty_room(self) -> None:
        node = await self.node_on()
        start = {"after": str(await self.now(node))}
        await self.check(node, start, [])
        node = await self.another(node)
        await self.check(node, start, ["end1"])

    async def test_no_start_at_all(self) -> None:
        node = await self.node_on()
        await self.check(node, {}, [])
        await self.check(node, {}, [])

    async def test_from_a_position(self) -> None:
        node = await self.node_on()
        await self.say(node, *names(0, 5))
        cursors = await self.cursors(node)
        for n in range(4):
            await self.check(
                node, {"after": cursors[n]}, [*names(n + 1, 5), *(f"end{k + 1}" for k in range(n))]
            )

    async def test_the_same_position(self) -> None:
        node = await self.node_on()
        await self.say(node, *names(0, 5))
        start = {"after": (await self.cursors(node))[-1]}
        await self.check(node, start, [])
        await self.check(node, start, ["end1"])

    async def test_over_the_page_limit(self) -> None:
        node = await self.node_on()
        await self.say(node, "first")
        start = {"after": (await self.cursors(node))[0]}
        await self.fill(node, 0, 1500)
        await self.check(node, start, names(0, 1500))

    async def test_already_expired(self) -> None:
        node = await self.node_on("--retain=100s")
        await self.say(node, *names(0, 3))
        old = await self.cursors(node)
        node.clock.advance(90)
        await self.say(node, *names(3, 5))
        newer = await self.cursors(node)
        node.clock.advance(20)
        await self.check(node, {"after": old[0]}, [GAP, *names(3, 5)])
        await self.check(node, {"after": old[2]}, [*names(3, 5), "end1"])
        await self.check(node, {"after": newer[3]}, ["m4", "end1", "end2"])
        await self.check(node, {"last": 1000}, [*names(3, 5), "end1", "end2", "end3"])
        node.clock.advance(200)
        await self.check(node, {"after": newer[4]}, [GAP])
        await self.check(node, {"since": "2001-01-01T00:00:00Z"}, ["end5"])

    async def test_not_yet_existing(self) -> None:
        node = await self.node_on()
        await self.say(node, *names(0, 3))
        here = await self.now(node)
        for further in (1, 1000, 10**15):
            start = {"after": str(Cursor(here.epoch, here.offset + further + 2))}
            ends = (await self.shown(node))[3:]
            await self.check(node, start, [GAP, *names(0, 3), *(m["text"] for m in ends)])

    async def test_deleted_and_created_again(self) -> None:
        node = await self.node_on()
        await self.say(node, *names(0, 3))
        cursors = await self.cursors(node)
        directory = node.service.chat.directory
        self.assertTrue(await directory.delete("lobby"))
        self.assertTrue(await directory.create("lobby"))
        await self.check(node, {"after": cursors[1]}, [GAP])
        await self.say(node, *names(7, 9))
        await self.check(node, {"after": cursors[1]}, [GAP, "end1", *names(7, 9)])
        await self.check(node, {"after": cursors[2]}, [GAP, "end1", *names(7, 9), "end2"])

    async def test_malformed(self) -> None:
        node = await self.node_on()
        await self.say(node, "m0")
        epoch = (await self.now(node)).epoch
        for cursor in ("", "x", f"{epoch}:", ":0", f"{epoch}:-2", f"{epoch}:1:2", f"{epoch}:1x"):
            await self.refused(node, {"after": cursor})
        for cursor in (f"{epoch}:{10**18}", f"{epoch}: 1", f"é{epoch}:1", "e" * 33 + ":1"):
            await self.refused(node, {"after": cursor})
        await self.check(node, {"last": 5}, ["m0"])

    async def test_in_the_middle_of_a_transaction(self) -> None:
        node = await self.node_on()
        await self.say(node, "before")
        await self.batch(node, names(0, 10))
        await self._until_shown(node, 11)
        cursors = await self.cursors(node)
        for n in (0, 1, 5, 10):
            ends = [m["text"] for m in (await self.shown(node))[11:]]
            await self.check(node, {"after": cursors[n]}, [*names(n, 10), *ends])
        node = await self.another(node)
        ends = [m["text"] for m in (await self.shown(node))[11:]]
        await self.check(node, {"after": cursors[4]}, [*names(4, 10), *ends])

    async def _until_shown(self, node: Node, number: int) -> None:
        while len(await self.shown(node)) < number:
            await pause(0.01)

    async def test_offset_0(self) -> None:
        node = await self.node_on()
        await self.say(node, *names(0, 4))
        epoch = (await self.now(node)).epoch
        first = Cursor.parse((await self.cursors(node))[0]).offset  # a broker's own affair
        texts = names(1 if first == 0 else 0, 4)
        await self.check(node, {"after": f"{epoch}:0"}, texts)
        await self.check(node, {"after": f"{epoch}:-1"}, [*names(0, 4), "end1"])
        node = await self.another(node)
        await self.check(node, {"after": f"{epoch}:0"}, [*texts, "end1", "end2"])

    async def test_resumed_on_another_transport(self) -> None:
        node = await self.node_on()
        await self.say(node, *names(0, 6))
        start = {"after": str(Cursor((await self.now(node)).epoch, -1))}
        for one in TRANSPORTS:
            reading = await one.open(node, "lobby", start)
            self.assertEqual([await reading.next() for _ in range(3)], names(0, 3))
            await reading.close()
            for other in TRANSPORTS:
                again = await other.open(node, "lobby", {"after": reading.cursor})
                self.assertEqual([await again.next() for _ in range(3)], names(3, 6), (one, other))
                await again.close()

    async def test_resumed_on_another_node(self) -> None:
        one = await self.node_on()
        await self.say(one, *names(0, 6))
        start = {"after": (await self.cursors(one))[1]}
        readings = [await transport.open(one, "lobby", start) for transport in TRANSPORTS]
        read = await together(*(self.texts(reading, "m3") for reading in readings))
        self.assertEqual(read, [["m2"]] * len(TRANSPORTS))
        other = await self.another(one)
        await self.say(other, "m6")
        for reading in readings:
            await self.check(other, {"after": reading.cursor}, await self._after(other, "m3"))
        await self.check(other, {"last": 1}, (await self._after(other, "m3"))[-1:])

    async def _after(self, node: Node, text: str) -> list[str]:
        texts = [m["text"] for m in await self.shown(node)]
        return texts[texts.index(text) + 1 :]

    async def test_last_at_its_edges(self) -> None:
        node = await self.node_on()
        await self.check(node, {"last": 5}, [])
        await self.fill(node, 0, 1010)
        everything = ["end1", *names(0, 1010)]
        for n in (0, 1, 511, 512, 513, 1000):
            await self.check(node, {"last": n}, everything[len(everything) - n :])
            everything.append(f"end{self._ends}")
        for bad in (1001, -1):
            await self.refused(node, {"last": bad})

    async def test_since_at_its_edges(self) -> None:
        node = await self.node_on()
        for n in range(4):
            await self.say(node, f"m{n}")
            node.clock.advance(10)
        times = [parse_time(m["time"]) for m in await self.shown(node)]
        for time, expected in (
            (times[0] - 10**9, names(0, 4)),
            (times[1] - 1, names(1, 4)),
            (times[1], names(1, 4)),
            (times[1] + 1, names(2, 4)),
            (times[3], names(3, 4)),
            (times[3] + 1, []),
            (times[3] + 10**9, []),
        ):
            ends = [f"end{n + 1}" for n in range(getattr(self, "_ends", 0))]
            later = ends if time <= times[3] + 1 else []
            await self.check(node, {"since": format_time(time)}, [*expected, *later])
        for bad in ("yesterday", "2027-01-01", "2027-01-01T00:00:00"):
            await self.refused(node, {"since": bad})

    async def test_join_during_a_flood(self) -> None:
        # a busy machine may take longer for it than a client has to answer pings
        for heartbeats in (heartbeat, polling):
            self.patch(heartbeats, "PONG_WITHIN", 600)
        node = await self.node_on()
        await self.say(node, "m0")
        start = {"after": (await self.cursors(node))[0]}
        flooding = together(*(self._flood(node, n, 8, 600) for n in range(8)))
        reads: list[Any] = []
        while not flooding.called and len(reads) < 30:
            for transport in TRANSPORTS:
                reading = await transport.open(node, "lobby", start)
                reads.append(together(self.texts(reading, "end")))
        await flooding
        await self.say(node, "end")
        stored = await self._all(node, start["after"])
        self.assertEqual(len(stored), 600)
        self.assertGreater(len(reads), 3)
        for read in reads:
            [items] = await read
            self.assertEqual(items, stored)

    async def _flood(self, node: Node, first: int, step: int, stop: int) -> None:
        for n in range(first, stop, step):
            await self._publish(node, f"flood{n}")

    async def _all(self, node: Node, after: str) -> list[str]:
        reading = PollReading(node, "lobby", limit=1000)
        await reading.ask({"after": after})
        return await self.texts(reading, "end")

    async def test_leave_and_join_again(self) -> None:
        node = await self.node_on()
        socket = await node.chat("wanda")
        said: list[str] = []
        left: dict[Any, tuple[str, int]] = {}
        for turn in range(3):
            for transport in TRANSPORTS:
                cursor, number = left.get(transport, ("", len(said)))
                start = {"after": cursor} if cursor else {}
                if transport is SocketReading:
                    reading: Reading = await SocketReading.join(socket, "lobby", start)
                else:
                    reading = await transport.open(node, "lobby", start)
                here, away = f"{transport.__name__}{turn}", f"away{len(said)}"
                await self.say(node, here)
                self.assertEqual(await self.texts(reading, here), said[number:])
                await reading.close()
                await self.say(node, away)
                said += [here, away]
                left[transport] = (reading.cursor, len(said) - 1)

    async def test_two_joins_crossing(self) -> None:
        node = await self.node_on()
        await self.fill(node, 0, 700)
        cursors = await self.cursors(node)
        socket = await node.chat("wanda")
        for first, second in ((0, 699), (699, 0), (10, 20)):
            socket.send({"type": "join", "room": "lobby", "after": cursors[first]})
            socket.send({"type": "join", "room": "lobby", "after": cursors[second]})
            one = await socket.find("joined")
            self.assertEqual(one["cursor"], cursors[first])
            while (frame := await socket.receive())["type"] != "joined":
                pass  # what the first one was sent before the second came into effect
            self.assertEqual(frame["cursor"], cursors[second])
            reading = SocketReading(socket, frame["cursor"], frame["gap"])
            texts = names(second + 1, 700)
            self.assertEqual([await reading.next() for _ in texts], texts)
            fence = await socket.fence()
            self.assertEqual([f for f in fence if f["type"] == "message"], [])
        self.assertEqual(node.service.chat.presence.members("lobby").count, 1)
        room = node.service.chat.rooms.get(node.service.chat.directory.get("lobby"))
        assert room is not None
        self.assertEqual(len(room.subscriptions), 1)

    async def test_a_slow_reader_catches_up_on_every_transport(self) -> None:
        node = await self.node_on()
        await self.say(node, "m0")
        start = {"after": (await self.cursors(node))[0]}
        readings = [await transport.open(node, "lobby", start) for transport in TRANSPORTS]
        streaming = [one for one in readings if isinstance(one, STREAMING)]
        for reading in streaming:
            reading.raw.transport.pauseProducing()
        text = "x" * 16_000
        for n in range(12):
            await together(*(self._publish(node, f"{n}.{k}{text}") for k in range(20)))
        room = node.service.chat.rooms.get(node.service.chat.directory.get("lobby"))
        assert room is not None
        await until(lambda: {s.state for s in room.subscriptions} == {SubscriptionState.BEHIND})
        for reading in streaming:
            reading.raw.transport.resumeProducing()
        await self.say(node, "end")
        expected = [f"{n}.{k}" for n in range(12) for k in range(20)]
        for items in await together(*(self.texts(reading, "end") for reading in readings)):
            self.assertEqual([item.rstrip("x") for item in items], expected)


def _id(text: str) -> str:
    return f"id-{text[:40]}"
