"""Rooms whose members are sent to all at once, WebSockets and event streams: some are slow, or
leave."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

from chatd.net.io_uring import Ring
from chatd.net.socket_group import LARGE
from tests.support.http_client import EventStream
from tests.support.serving import Node, ServingTests
from tests.support.waiting import until
from tests.support.ws_client import WebSocket

MEMBERS = LARGE + 4


def has_ring() -> bool:
    """Whether this machine has io_uring for everyone."""
    try:
        Ring(1).close()
    except OSError:
        return False
    return True


def open_rings() -> list[Path]:
    """Those descriptors of this process that are a ring's."""
    found = Path("/proc/self/fd").iterdir()
    return [one for one in found if one.is_symlink() and "io_uring" in os.readlink(one)]


class LargeRoomTests(ServingTests):
    async def large(self) -> tuple[Node, list[WebSocket], list[EventStream]]:
        """A room of `MEMBERS` WebSockets and as many event streams."""
        self.rings: set[int] = set()
        send = Ring.send

        def sent(ring: Ring, places: array[int], data: bytes) -> list[tuple[int, int]]:
            self.rings.add(len(places))
            return send(ring, places, data)

        self.patch(Ring, "send", sent)
        node = await self.serve("--rate=100000/s")
        members = [await node.chat(f"u{n}", "lobby") for n in range(MEMBERS)]
        streams = [await node.events("/rooms/lobby/events") for _ in range(MEMBERS)]
        return node, members, streams

    async def test_each_gets_all_once_however_slow_the_others_are(self) -> None:
        node, members, streams = await self.large()
        writer, slow, idle = members[0], members[1], streams[1]
        for deaf in (slow.raw, idle._http.raw):
            deaf.transport.pauseProducing()
        said = [f"{n} " + "x" * 16000 for n in range(40)]
        for text in said:
            await writer.say("lobby", text)
        room = next(iter(node.service.chat.rooms))
        self.assertEqual(room.lagging, 2)
        for deaf in (slow.raw, idle._http.raw):
            deaf.transport.resumeProducing()
        for member in members[1:]:
            self.assertEqual([(await member.find("message"))["text"] for _ in said], said)
        for stream in streams:
            self.assertEqual([(await stream.message()).data["text"] for _ in said], said)
        self.assertEqual(room.lagging, 0)
        if has_ring():  # both encodings, with all of their members and without the slow
            self.assertLessEqual({MEMBERS, MEMBERS - 1}, self.rings)

    async def test_who_is_cut_off_is_gone_at_once(self) -> None:
        """The kernel lets go of a connection when the node does, though it sends by itself."""
        node, members, _ = await self.large()
        await members[0].say("lobby", "hello")
        await self.cut_off(node, members[3])
        await members[0].say("lobby", "still here?")
        for member in members[4:]:
            texts = [(await member.find("message"))["text"] for _ in range(2)]
            self.assertEqual(texts, ["hello", "still here?"])

    async def test_so_it_is_after_the_room_has_lost_its_place(self) -> None:
        node, members, _ = await self.large()
        await members[0].say("lobby", "hello")
        room = next(iter(node.service.chat.rooms))
        room.lost(room.head)
        await self.cut_off(node, members[3])

    async def cut_off(self, node: Node, member: WebSocket) -> None:
        """The node does, and the client sees it."""
        port = member.raw.transport.getHost().port
        ends = node.service.ways.websockets.connections
        (end,) = (end for end in ends if end.transport.getPeer().port == port)
        end.transport.abortConnection()
        await until(lambda: member.raw.lost)

    async def test_a_node_that_has_stopped_has_closed_its_ring(self) -> None:
        node, members, _ = await self.large()
        await members[0].say("lobby", "hello")
        self.assertEqual(bool(open_rings()), has_ring())
        await node.stop()
        self.assertEqual(open_rings(), [])
