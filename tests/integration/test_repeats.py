"""A message sent again is stored once at any rate, where its repeat says from where to look."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from chatd.access.identity import Identity
from chatd.brokers.interfaces import NotStored
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import WINDOW, Content
from chatd.rooms.repeats import SEARCHES, WAITING, Repeats
from tests.support.publishing import publish
from tests.support.serving import Node, ServingTests
from tests.support.waiting import together

#: More than a room remembers ids of, and more than one page of a search.
MANY = WINDOW + 100
SAY = "/rooms/lobby/messages?username=ann"


class RepeatTests(ServingTests):
    """The acknowledgement was lost, and others said much before the sender came back."""

    async def setting(self) -> tuple[Node, str]:
        """A node on which ann said "once" under the id "x" long ago, and her cursor before it."""
        node = await self.serve()
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        await node.post(SAY, {"text": "once", "id": "x"})
        await self.fill(node, MANY)
        return node, cursor

    async def fill(self, node: Node, count: int) -> None:
        """Say a lot, past the limits of any connection."""
        chat = node.service.chat
        for _ in range(0, count, 100):
            await together(*(publish(chat, "bob", "lobby", "much") for _ in range(100)))

    async def count(self, node: Node, cursor: str) -> int:
        """How often "once" is stored."""
        found: list[Any] = []
        while True:
            path = f"/rooms/lobby/messages?after={quote(cursor)}&limit=1000"
            answer = (await node.get(path)).json
            if not answer["messages"]:
                return sum(message["text"] == "once" for message in found)
            found += answer["messages"]
            cursor = answer["cursor"]

    async def test_over_websocket(self) -> None:
        node, cursor = await self.setting()
        ann = await node.chat("ann")
        repeat = {"type": "message", "room": "lobby", "text": "once", "id": "x", "after": cursor}
        ann.send(repeat)
        self.assertEqual(await ann.find("ack"), {"type": "ack", "room": "lobby", "id": "x"})
        self.assertEqual(await self.count(node, cursor), 1)

    async def test_over_http(self) -> None:
        node, cursor = await self.setting()
        answer = await node.post(SAY, {"text": "once", "id": "x", "after": cursor})
        self.assertEqual((answer.status, answer.json), (200, {"id": "x"}))
        self.assertEqual(await self.count(node, cursor), 1)

    async def test_what_was_never_stored_is_stored_now(self) -> None:
        """Another's message of the same id, and another id of the same user, are no repeats."""
        node, cursor = await self.setting()
        for user, id in (("bob", "x"), ("ann", "y")):
            path = f"/rooms/lobby/messages?username={user}"
            answer = await node.post(path, {"text": "once", "id": id, "after": cursor})
            self.assertEqual(answer.status, 201)
        self.assertEqual(await self.count(node, cursor), 3)

    async def test_from_another_life_of_the_room(self) -> None:
        """Then all that is kept is looked through."""
        node, cursor = await self.setting()
        answer = await node.post(SAY, {"text": "once", "id": "x", "after": "other:5"})
        self.assertEqual(answer.status, 200)
        self.assertEqual(await self.count(node, cursor), 1)

    async def test_no_cursor(self) -> None:
        node = await self.serve()
        for after in ("nonsense", 7, ["x"]):
            answer = await node.post(SAY, {"text": "once", "id": "x", "after": after})
            self.assertEqual((answer.status, answer.json["code"]), (400, "bad_request"))

    async def test_searches_are_bounded(self) -> None:
        node = await self.serve()
        chat = node.service.chat
        room = await chat.room(Identity("ann"), "lobby")
        repeats = Repeats()
        await self.fill(node, 100)
        start = Cursor(room.stream.epoch, -1)

        async def look(number: int) -> bool | str:
            try:
                return await repeats.stored(room, Content("ann", str(number), "x"), start, "")
            except NotStored as refusal:
                return str(refusal)

        for _ in range(SEARCHES):
            await repeats._turn.acquire()
        looking = [Deferred.fromCoroutine(look(number)) for number in range(WAITING + 5)]
        for _ in range(SEARCHES):
            repeats._turn.release()
        found = [await one for one in looking]
        self.assertEqual(found.count(False), WAITING)
        self.assertIs(await look(0), False)
