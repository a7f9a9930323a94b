"""``GET /rooms/{room}/messages?before=C``: scrolling back (protocol, "HTTP")."""

from __future__ import annotations

from itertools import count
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
from twisted.internet.defer import Deferred

from chatd.brokers.interfaces import Unavailable
from chatd.rooms.history import HistoryPage
from chatd.rooms.room import Room
from tests.support.rabbit import shared_node
from tests.support.serving import Node, ServingTests

MESSAGES = "/rooms/lobby/messages"


async def say(node: Node, *texts: str) -> None:
    """Publish ``texts`` in order."""
    writer = await node.chat("ben")
    for text in texts:
        writer.send({"type": "message", "room": "lobby", "text": text})
    for _ in texts:
        await writer.find("ack")


async def look(node: Node, before: str, query: str = "") -> dict[str, Any]:
    """The answer for what lies before a cursor."""
    answer = await node.get(f"{MESSAGES}?before={before}{query}")
    assert answer.status == 200, answer
    assert isinstance(answer.json, dict)
    return answer.json


def texts(page: dict[str, Any]) -> list[str]:
    return [message["text"] for message in page["messages"]]


class LookBackTests(ServingTests):
    """In memory all that is recent is at hand; what is older comes from the broker."""

    async def test_page_by_page_to_the_beginning(self) -> None:
        """Each message once, in order within a page, for a request per ``limit`` messages."""
        node = await self.serve("--rate=100000/s")
        await say(node, *(str(n) for n in range(1500)))
        [newest] = (await node.get(f"{MESSAGES}?last=1")).json["messages"]
        before, seen, pages = newest["cursor"], [newest["text"]], 0
        while True:
            page = await look(node, before, "&limit=200")
            seen = texts(page) + seen
            pages += 1
            self.assertFalse(page["gap"])
            self.assertEqual(page["cursor"], page["messages"][0]["cursor"])
            before = page["cursor"]
            if not page["more"]:
                break
            self.assertEqual(len(page["messages"]), 200)
        self.assertEqual(seen, [str(n) for n in range(1500)])
        self.assertEqual(pages, 8)
        page = await look(node, before)
        self.assertEqual((page["messages"], page["cursor"]), ([], before))
        self.assertEqual((page["more"], page["gap"]), (False, False))

    async def test_the_answer(self) -> None:
        node = await self.serve()
        await say(node, "1", "2", "3")
        [one, two, three] = (await node.get(f"{MESSAGES}?last=3")).json["messages"]
        answer = await node.get(f"{MESSAGES}?before={three['cursor']}&limit=1")
        self.assertEqual(
            answer.json,
            {
                "room": "lobby",
                "messages": [two],
                "cursor": two["cursor"],
                "more": True,
                "gap": False,
            },
        )
        self.assertEqual(answer.header("cache-control"), "no-store, no-transform")
        page = await look(node, two["cursor"], "&limit=1")
        self.assertEqual((page["messages"], page["more"]), ([one], False))

    async def test_limits(self) -> None:
        node = await self.serve("--rate=100000/s")
        await say(node, *(str(n) for n in range(1050)))
        end = (await node.get(MESSAGES)).json["cursor"]
        for query, expected in (("", 100), ("&limit=5000", 1000), ("&limit=7", 7), ("&limit=0", 0)):
            page = await look(node, end, query)
            self.assertEqual(texts(page), [str(n) for n in range(1049 - expected, 1049)], query)
            self.assertTrue(page["more"], query)

    async def test_bad_parameters(self) -> None:
        node = await self.serve()
        cursor = (await node.get(MESSAGES)).json["cursor"]
        for query in (
            "before=",
            "before=x",
            "before=%ff",
            f"before={cursor}&after={cursor}",
            f"before={cursor}&last=1",
            f"before={cursor}&since=2020-01-01T00:00:00Z",
            f"before={cursor}&wait=1",
            f"before={cursor}&wait=0",
            f"before={cursor}&limit=-1",
            f"before={cursor}&limit=x",
        ):
            answer = await node.get(f"{MESSAGES}?{query}")
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), query)

    async def test_why_the_past_cannot_be_read_is_said(self) -> None:
        node = await self.serve()
        await say(node, "one")
        cursor = (await node.get("/rooms/lobby/messages?last=1")).json["cursor"]
        ann = await node.chat("ann")
        why = "the database is damaged"
        broken = AsyncMock(side_effect=Unavailable(why))
        with (
            patch("chatd.service.chat.find", broken),
            patch("chatd.service.chat.look_back", broken),
            patch("chatd.service.session.find", broken),
        ):
            for query in ("last=1", f"before={cursor}"):
                answer = await node.get(f"/rooms/lobby/messages?{query}")
                self.assertEqual(answer.status, 503)
                self.assertIn(why, answer.json["text"])
            refused = await ann.ask_for("error", {"type": "join", "room": "lobby", "last": 1})
            self.assertIn(why, refused["text"])

    async def test_what_cannot_be_read_to_its_end_is_cut_off(self) -> None:
        """The newest come last: whoever went on from the first would never get them."""
        node = await self.serve("--rate=1000/s")
        await say(node, *("x" * 10_000 for _ in range(40)))
        end, pages, page = (await node.get(MESSAGES)).json["cursor"], count(), Room.page

        async def away(room: Room, *place: Any) -> HistoryPage:
            """The broker goes away when some of it has been sent."""
            if next(pages) == 4:
                raise Unavailable("the broker is away")
            return await page(room, *place)

        with patch.object(Room, "page", away):
            answer = node.get(f"{MESSAGES}?before={end}&limit=40")
            await self.assertFailure(Deferred.fromCoroutine(answer), ConnectionError)
        self.assertEqual(len((await look(node, end, "&limit=40"))["messages"]), 39)

    async def test_rights(self) -> None:
        node = await self.serve()
        await node.service.chat.directory.create("den", private=True)
        cursor = (await node.get(MESSAGES)).json["cursor"]
        for room, status in (("den", 403), ("nowhere", 404)):
            answer = await node.get(f"/rooms/{room}/messages?before={cursor}&username=ann")
            self.assertEqual(answer.status, status)

    async def test_looking_back_is_not_being_there(self) -> None:
        node = await self.serve()
        cursor = (await node.get(MESSAGES)).json["cursor"]
        await look(node, cursor, "&username=ann")
        self.assertEqual((await node.get("/rooms/lobby")).json["members"], [])

    async def test_an_earlier_life(self) -> None:
        """Nothing of it is kept, and what came later is not before it."""
        node = await self.serve()
        await say(node, "old")
        old = (await node.get(MESSAGES)).json["cursor"]
        await node.service.chat.directory.delete("lobby")
        await node.service.chat.directory.create("lobby")
        await say(node, "new")
        expected = {"room": "lobby", "messages": [], "cursor": old, "more": False, "gap": True}
        self.assertEqual(await look(node, old), expected)

    async def test_beyond_the_end(self) -> None:
        node = await self.serve()
        await say(node, "1", "2")
        epoch = (await node.get(MESSAGES)).json["cursor"].partition(":")[0]
        page = await look(node, f"{epoch}:99")
        self.assertEqual((texts(page), page["gap"], page["more"]), (["1", "2"], True, False))

    async def test_what_retention_removed(self) -> None:
        node = await self.serve("--retain=1h", "--rate=1000/s")
        await say(node, "1", "2")
        old = (await node.get(MESSAGES)).json["cursor"]
        node.clock.advance(3000)
        await say(node, "young", "younger")
        node.clock.advance(700)
        [young, younger] = (await node.get(f"{MESSAGES}?last=9")).json["messages"]
        for before, expected, gap in (
            (younger["cursor"], ["young"], False),
            (young["cursor"], [], True),
            (old, [], True),
        ):
            page = await look(node, before)
            self.assertEqual((texts(page), page["gap"], page["more"]), (expected, gap, False))

    async def test_the_largest_page_is_bounded_in_bytes(self) -> None:
        node = await self.serve("--rate=100000/s")
        await say(node, *("x" * 16_000 for _ in range(400)))
        end = (await node.get(MESSAGES)).json["cursor"]
        page = await look(node, end, "&limit=1000")
        self.assertTrue(page["more"])
        self.assertLess(len(page["messages"]), 300)
        rest = await look(node, page["cursor"], "&limit=1000")
        self.assertEqual(len(page["messages"]) + len(rest["messages"]), 399)


class LookBackOnSQLiteTests(LookBackTests):
    """The same on the broker that is the default."""

    async def serve(self, *options: str) -> Node:
        return await super().serve("--broker", f"sqlite:{self.mktemp()}", *options)


@pytest.mark.rabbitmq
class LookBackOnRabbitMQTests(ServingTests):
    """On RabbitMQ offsets skip, and a stream has records that are no messages."""

    async def test_page_by_page_to_the_beginning(self) -> None:
        broker = shared_node()
        vhost = broker.vhost()
        self.addCleanup(broker.drop_vhost, vhost)
        node = await self.serve("--broker", broker.url(vhost), "--rate=100000/s")
        await say(node, *(str(n) for n in range(900)))
        page = (await node.get(f"{MESSAGES}?last=1")).json
        seen: list[str] = texts(page)
        page |= {"cursor": page["messages"][0]["cursor"], "more": True}
        while page["more"]:
            page = await look(node, page["cursor"], "&limit=200")
            self.assertFalse(page["gap"])
            seen = texts(page) + seen
        self.assertEqual(seen, [str(n) for n in range(900)])
        self.assertFalse((await look(node, page["cursor"]))["more"])
