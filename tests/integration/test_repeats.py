"""A message sent again is stored once at any rate, where its repeat says from where to look."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from chatd.protocol.messages import WINDOW
from chatd.rooms.repeats import OF_ONE
from tests.support.publishing import publish
from tests.support.serving import Node, ServingTests
from tests.support.waiting import together, until

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

    async def test_a_first_copy_that_comes_after_its_repeat(self) -> None:
        """It was held up on another connection, and does not say from where to look."""
        node = await self.serve()
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        for id in ("socket", "post", "poll"):
            await node.post(SAY, {"text": "once", "id": id, "after": cursor})
        await self.fill(node, MANY)
        ann = await node.chat("ann")
        ann.send({"type": "message", "room": "lobby", "text": "once", "id": "socket"})
        self.assertEqual((await ann.find("ack"))["id"], "socket")
        answer = await node.post(SAY, {"text": "once", "id": "post"})
        self.assertEqual((answer.status, answer.json), (200, {"id": "post"}))
        said = {"status": "message", "message": "once", "username": "ann", "roomname": "lobby"}
        poll = await node.post("/poll", said, **{"Idempotency-Key": "poll"})
        self.assertEqual((poll.status, poll.json), (200, {"id": "poll"}))
        self.assertEqual(await self.count(node, cursor), 3)
        answer = await node.post("/rooms/lobby/messages?username=bob", {"text": "x", "id": "post"})
        self.assertEqual(answer.status, 201, "another's")

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
            answer = await node.post(SAY, {"text": "without an id", "after": after})
            self.assertEqual((answer.status, answer.json["code"]), (400, "bad_request"))

    async def test_in_the_order_in_which_they_were_sent(self) -> None:
        """Repeats among themselves, and what is new after them."""
        node, cursor = await self.setting()
        ann = await node.chat("ann", "lobby")
        lost = [{"text": f"lost{n}", "id": f"l{n}", "after": cursor} for n in range(8)]
        said = [*lost, {"text": "new", "id": "n"}, {"text": "last"}]
        for message in said:
            ann.send({"type": "message", "room": "lobby", **message})
        seen = [(await ann.find("message"))["text"] for _ in said]
        self.assertEqual(seen, [message["text"] for message in said])

    async def test_the_broker_is_asked_for_all_that_came_together(self) -> None:
        """Each answer takes RabbitMQ a record, and a while."""
        node, cursor = await self.setting()
        chat = node.service.chat
        broker, asked = chat.rooms.node.broker, list[Deferred[int]]()

        def end(_: object) -> Deferred[int]:
            asked.append(Deferred())
            if len(asked) > 1:
                asked[-1].callback(0)
            return asked[-1]

        self.patch(broker, "end", end)
        self.patch(broker, "exact", False)
        ann = await node.chat("ann")
        for n in range(8):
            said = {"text": f"new{n}", "id": f"n{n}", "after": cursor}
            ann.send({"type": "message", "room": "lobby", **said})
        await until(lambda: len(asked) == 1 and chat.waiting == 8)
        asked[0].callback(0)
        acks = [(await ann.find("ack"))["id"] for _ in range(8)]
        self.assertEqual(acks, [f"n{n}" for n in range(8)])
        # again at most for those that had not come yet when it was asked first
        self.assertLessEqual(len(asked), 2)

    async def test_what_a_search_cannot_tell_is_not_said(self) -> None:
        """A repeat that is refused may be stored, since it was first sent."""
        node, cursor = await self.setting()
        repeats = node.service.chat._repeats
        repeats._under_way["127.0.0.1"] = OF_ONE
        answer = await node.post(SAY, {"text": "once", "id": "x", "after": cursor})
        self.assertEqual((answer.status, answer.json["code"]), (503, "unavailable"))
        self.assertEqual(answer.json["id"], "x")
        self.assertNotIn("stored", answer.json)

    async def test_of_who_may_no_longer_be_there(self) -> None:
        """Rights are looked at again when the search has ended."""
        node, cursor = await self.setting()
        chat = node.service.chat
        await chat.directory.add_member("lobby", "ann")

        async def search(*_: object) -> bool:
            await chat.directory.set_private("lobby", True)
            await chat.directory.remove_member("lobby", "ann")
            return False

        self.patch(chat._repeats, "stored", search)
        answer = await node.post(SAY, {"text": "once", "id": "y", "after": cursor})
        self.assertEqual((answer.status, answer.json["code"]), (403, "forbidden"))

    async def test_a_search_ends_with_its_client(self) -> None:
        node, cursor = await self.setting()
        repeats = node.service.chat._repeats
        searches: list[Deferred[bool]] = []

        async def search(*_: object) -> bool:
            searches.append(Deferred())
            return await searches[-1]

        self.patch(repeats, "stored", search)
        ann = await node.chat("ann")
        ann.send({"type": "message", "room": "lobby", "text": "x", "id": "1", "after": cursor})
        ann.send({"type": "message", "room": "lobby", "text": "y", "id": "2", "after": cursor})
        post = await node.ask("POST", SAY, {"text": "z", "id": "3", "after": cursor})
        await until(lambda: len(searches) == 2)
        ann.raw.abort()
        post.raw.abort()
        await until(lambda: all(search.called for search in searches))
        await until(lambda: not node.connections())
        self.assertEqual(len(searches), 2, "no other began")
        texts = (await node.get("/rooms/lobby/messages?last=3")).json["messages"]
        self.assertEqual({message["text"] for message in texts}, {"much"})
