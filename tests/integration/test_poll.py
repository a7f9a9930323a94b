"""Long-poll with a cursor (protocol, "HTTP")."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from unittest.mock import patch
from urllib.parse import quote

from chatd.transports.http.messages import page
from tests.support.kept import Kept
from tests.support.polls import MESSAGES, say, texts, waiting
from tests.support.serving import Node, ServingTests
from tests.support.tokens import Issuer
from tests.support.waiting import until


class ReadTests(ServingTests):
    async def test_without_a_start(self) -> None:
        """No messages and the current cursor, at once, whatever ``wait`` says."""
        node = await self.serve("--rate=1000/s")
        await say(node, "x")
        answer = await node.get(f"{MESSAGES}?wait=60")
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        expected = {"room": "lobby", "messages": [], "cursor": cursor, "gap": False}
        self.assertEqual((answer.status, answer.json), (200, expected))

    async def test_headers(self) -> None:
        node = await self.serve()
        for path in (MESSAGES, f"{MESSAGES}?last=5", "/poll?roomname=lobby", "/rooms/lobby"):
            answer = await node.get(path)
            self.assertEqual(answer.header("cache-control"), "no-store, no-transform")
            self.assertIsNone(answer.header("etag"))
            self.assertEqual(answer.header("content-type"), "application/json; charset=utf-8")

    async def test_page_by_page(self) -> None:
        node = await self.serve("--rate=100000/s")
        socket = await node.chat("ben")
        for n in range(250):
            socket.send({"type": "message", "room": "lobby", "text": str(n)})
        for _ in range(250):
            await socket.find("ack")
        seen: list[str] = []
        answer = await node.get(f"{MESSAGES}?since=2020-01-01T00:00:00Z")
        sizes = []
        while answer.json["messages"]:
            sizes.append(len(answer.json["messages"]))
            seen += texts(answer)
            self.assertEqual(answer.json["cursor"], answer.json["messages"][-1]["cursor"])
            answer = await node.get(f"{MESSAGES}?after={answer.json['cursor']}")
        self.assertEqual(seen, [str(n) for n in range(250)])
        self.assertEqual(sizes, [100, 100, 50])
        self.assertEqual(answer.json["cursor"], (await node.get("/rooms/lobby")).json["cursor"])

    async def test_starts_and_limits(self) -> None:
        node = await self.serve("--rate=1000/s")
        for n in range(5):
            await say(node, str(n))
            node.clock.advance(2)
        everything = (await node.get(f"{MESSAGES}?last=1000")).json["messages"]
        second = everything[1]
        for query, expected in (
            ("last=0", []),
            ("last=2", ["3", "4"]),
            ("last=2&limit=1", ["3", "4"]),
            ("last=1000", ["0", "1", "2", "3", "4"]),
            (f"after={second['cursor']}", ["2", "3", "4"]),
            (f"after={quote(second['cursor'])}&limit=2", ["2", "3"]),
            (f"since={second['time']}&limit=2", ["1", "2"]),
            (
                f"since={quote(second['time'].replace('Z', '+00:00'), safe='+')}",
                ["1", "2", "3", "4"],
            ),
            ("since=2999-01-01T00:00:00Z", []),
            (f"after={second['cursor']}&limit=0", []),
            (f"after={second['cursor']}&limit=99999999999999999999", ["2", "3", "4"]),
        ):
            answer = await node.get(f"{MESSAGES}?{query}")
            self.assertEqual(texts(answer), expected, query)
            self.assertFalse(answer.json["gap"])

    async def test_limit_0_moves_nothing(self) -> None:
        node = await self.serve()
        start = (await node.get(MESSAGES)).json["cursor"]
        await say(node, "x")
        answer = await node.get(f"{MESSAGES}?after={start}&limit=0&wait=60")
        self.assertEqual((answer.json["messages"], answer.json["cursor"]), ([], start))

    async def test_limits_are_cut(self) -> None:
        node = await self.serve("--rate=100000/s")
        socket = await node.chat("ben")
        for _ in range(1005):
            socket.send({"type": "message", "room": "lobby", "text": ""})
        for _ in range(1005):
            await socket.find("ack")
        for query, n in (("limit=5000&since=2020-01-01T00:00:00Z", 1000), ("last=1000", 1000)):
            self.assertEqual(len((await node.get(f"{MESSAGES}?{query}")).json["messages"]), n)

    async def test_bad_parameters(self) -> None:
        node = await self.serve()
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        for query in (
            "after=",
            "after=x",
            "after=%ff",
            "after=a:b",
            f"after={cursor}&last=1",
            "last=1&since=2020-01-01T00:00:00Z",
            "last=",
            "last=-1",
            "last=1001",
            "last=1.5",
            "last=x",
            "last=99999999999999999999",
            "limit=-1",
            "limit=x",
            "limit=1.5",
            "limit=",
            "wait=-1",
            "wait=x",
            "wait=1e3",
            "wait=nan",
            "wait=inf",
            "wait=",
            "since=",
            "since=yesterday",
            "since=1700000000",
            "since=2026-11-24",
            "since=2026-11-24T00:00:00",
            "username=a%20%20b",
            "username=",
        ):
            answer = await node.get(f"{MESSAGES}?{query}")
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), query)

    async def test_gaps(self) -> None:
        """An old life's cursor and one beyond the end are answered from the oldest message kept."""
        node = await self.serve("--rate=1000/s")
        old = (await node.get(MESSAGES)).json["cursor"]
        await node.service.chat.directory.delete("lobby")
        await node.service.chat.directory.create("lobby")
        epoch = (await node.get(MESSAGES)).json["cursor"].partition(":")[0]
        await say(node, "1", "2")
        for cursor in (old, f"{epoch}:99", "0:3"):
            for path in (f"{MESSAGES}?after={cursor}", f"/poll?roomname=lobby&after={cursor}"):
                answer = await node.get(path)
                self.assertTrue(answer.json["gap"], cursor)
                self.assertEqual(texts(answer), ["1", "2"])
        self.assertFalse((await node.get(f"{MESSAGES}?after={answer.json['cursor']}")).json["gap"])

    async def test_what_retention_removed_is_a_gap(self) -> None:
        node = await self.serve("--retain=1h")
        start = (await node.get(MESSAGES)).json["cursor"]
        await say(node, "old")
        seen = (await node.get(f"{MESSAGES}?after={start}")).json
        await say(node, "old too")
        node.clock.advance(3000)
        await say(node, "young")
        node.clock.advance(700)
        for query, gap in (
            (f"after={start}", True),
            (f"after={seen['cursor']}", True),
            ("last=10", False),
            ("since=2020-01-01T00:00:00Z", False),
        ):
            answer = await node.get(f"{MESSAGES}?{query}")
            self.assertEqual((answer.json["gap"], texts(answer)), (gap, ["young"]), query)


class KeptReadTests(Kept, ReadTests):
    """On connections that are kept."""


class WaitTests(ServingTests):
    async def test_the_next_message_ends_it(self) -> None:
        node = await self.serve()
        cursor = (await node.get(MESSAGES)).json["cursor"]
        polls = [await waiting(node, f"{MESSAGES}?after={cursor}&wait=30") for _ in range(3)]
        await say(node, "x")
        answers = [await poll.answer() for poll in polls]
        for answer in answers:
            self.assertEqual((texts(answer), answer.json["gap"]), (["x"], False))
            self.assertEqual(answer.body, answers[0].body)

    async def test_its_date_is_that_of_the_answer(self) -> None:
        node = await self.serve()
        cursor = (await node.get(MESSAGES)).json["cursor"]
        poll = await waiting(node, f"{MESSAGES}?after={cursor}&wait=30")
        with patch("chatd.transports.http.response_headers.http_date", return_value="later"):
            await say(node, "x")
            self.assertEqual((await poll.answer()).header("date"), "later")

    async def test_its_date_is_by_the_clock_of_the_node(self) -> None:
        """Whichever way it goes."""
        node = await self.serve()
        node.clock.advance(7200)
        cursor = (await node.get(MESSAGES)).json["cursor"]
        for connection in ("keep-alive", "close"):  # `usual_poll`, and twisted.web
            path = f"{MESSAGES}?after={cursor}&wait=30"
            poll = await waiting(node, path, connection=connection)
            await say(node, "x")
            answer = await poll.answer()
            date = parsedate_to_datetime(answer.header("date") or "").timestamp()
            self.assertLess(abs(date - node.clock.seconds()), 600)
            cursor = answer.json["cursor"]

    async def test_those_who_wait_at_the_same_cursor_share_an_answer(self) -> None:
        node = await self.serve()
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        path = f"{MESSAGES}?after={cursor}&wait=30"
        polls = [await waiting(node, path) for _ in range(3)]
        made = page.cache_info().misses
        await say(node, "x")
        answers = [await poll.answer() for poll in polls]
        self.assertEqual([texts(answer) for answer in answers], [["x"]] * 3)
        self.assertEqual(page.cache_info().misses - made, 1)

    async def test_the_time_ends_it(self) -> None:
        """With no messages, and the cursor as it was."""
        node = await self.serve()
        await say(node, "x")
        cursor = (await node.get(MESSAGES)).json["cursor"]
        for wait, seconds in (("5", 5), ("2.5", 2.5), ("60", 60), ("61", 60), ("1" * 40, 60)):
            poll = await waiting(node, f"{MESSAGES}?after={cursor}&wait={wait}")
            node.clock.advance(seconds - 2)
            await node.get("/healthz")
            self.assertEqual(node.service.admission.connections.total, 1, wait)
            node.clock.advance(2)
            answer = await poll.answer()
            self.assertEqual((texts(answer), answer.json["cursor"]), ([], cursor), wait)

    async def test_what_is_there_is_returned_at_once(self) -> None:
        node = await self.serve()
        await say(node, "x")
        for query in ("last=1", "since=2020-01-01T00:00:00Z"):
            self.assertEqual(texts(await node.get(f"{MESSAGES}?{query}&wait=60")), ["x"])

    async def test_last_0_waits_for_what_comes(self) -> None:
        node = await self.serve()
        await say(node, "before")
        poll = await waiting(node, f"{MESSAGES}?last=0&wait=60")
        await say(node, "after")
        self.assertEqual(texts(await poll.answer()), ["after"])

    async def test_a_poller_that_lost_its_right(self) -> None:
        node = await self.serve()
        directory = node.service.chat.directory
        await directory.create("den", private=True)
        await directory.add_member("den", "ann")
        cursor = (await node.get("/rooms/den?username=ann")).json["cursor"]
        poll = await waiting(node, f"/rooms/den/messages?after={cursor}&wait=60&username=ann")
        await directory.remove_member("den", "ann")
        answer = await poll.answer()
        self.assertEqual((answer.status, answer.code), (403, "forbidden"))

    async def test_a_room_that_is_deleted(self) -> None:
        node = await self.serve()
        cursor = (await node.get(MESSAGES)).json["cursor"]
        polls = [
            await waiting(node, f"{MESSAGES}?after={cursor}&wait=60"),
            await waiting(node, f"/poll?roomname=lobby&after={cursor}&wait=60"),
        ]
        await node.service.chat.directory.delete("lobby")
        for poll in polls:
            answer = await poll.answer()
            self.assertEqual((answer.status, answer.code), (404, "unknown_room"))

    async def test_a_token_that_expires(self) -> None:
        issuer = Issuer(self.mktemp())
        node = await self.serve(*issuer.options)
        token = issuer.token("ann", node.clock.seconds() + 20)
        cursor = (await node.get(f"{MESSAGES}?token={token}")).json["cursor"]
        poll = await waiting(node, f"{MESSAGES}?token={token}&after={cursor}&wait=60")
        node.clock.advance(21)
        answer = await poll.answer()
        self.assertEqual((answer.status, answer.code), (401, "unauthorized"))


class KeptWaitTests(Kept, WaitTests):
    """On connections that are kept: polls go past twisted.web."""


class PresenceTests(ServingTests):
    async def members(self, node: Node) -> list[str]:
        found = (await node.get("/rooms/lobby")).json
        self.assertEqual(found["count"], len(found["members"]))
        return list(found["members"])

    async def test_a_named_poller(self) -> None:
        """Present from its poll until 90 s after it."""
        node = await self.serve()
        for path in (f"{MESSAGES}?username=ann", "/poll?roomname=lobby&username=ann"):
            await node.get(path)
            self.assertEqual(await self.members(node), ["ann"])
            node.clock.advance(60)
            await node.get(path)
            node.clock.advance(89)
            await node.get("/healthz")
            self.assertEqual(await self.members(node), ["ann"])
            node.clock.advance(3)
            await until(lambda: not node.service.chat.presence.members("lobby").count)

    async def test_while_it_waits(self) -> None:
        node = await self.serve()
        cursor = (await node.get(MESSAGES)).json["cursor"]
        poll = await waiting(node, f"{MESSAGES}?after={cursor}&username=ann&wait=60")
        self.assertEqual(await self.members(node), ["ann"])
        node.clock.advance(60)
        await poll.answer()
        node.clock.advance(80)
        await node.get("/healthz")
        self.assertEqual(await self.members(node), ["ann"])

    async def test_nobody_is_not_counted(self) -> None:
        node = await self.serve()
        await node.get(MESSAGES)
        await node.get("/poll?roomname=lobby")
        self.assertEqual(await self.members(node), [])

    async def test_who_only_looks_at_what_was_said_is_not_there(self) -> None:
        node = await self.serve()
        for query in ("last=3", "since=2026-01-01T00:00:00Z"):
            await node.get(f"{MESSAGES}?username=ann&{query}")
        await node.request("HEAD", f"{MESSAGES}?username=ann")
        self.assertEqual(await self.members(node), [])
        await node.get(f"{MESSAGES}?username=ann&since=2999-01-01T00:00:00Z&wait=0.001")
        self.assertEqual(await self.members(node), ["ann"])

    async def test_others_are_told(self) -> None:
        node = await self.serve()
        ben = await node.chat("ben", "lobby")
        node.clock.advance(1)
        await ben.find("presence")
        await node.get(f"{MESSAGES}?username=ann")
        node.clock.advance(1)
        told = await ben.find("presence")
        self.assertEqual((told["joined"], told["left"], told["count"]), (["ann"], [], 2))
        node.clock.advance(91)
        await until(lambda: node.service.chat.presence.members("lobby").count == 1)
        node.clock.advance(1)
        self.assertEqual((await ben.find("presence"))["left"], ["ann"])

    async def test_a_room_that_may_not_be_entered(self) -> None:
        node = await self.serve()
        await node.service.chat.directory.create("den", private=True)
        await node.get("/rooms/den/messages?username=ann")
        await node.get("/rooms/nowhere/messages?username=ann")
        for room in ("den", "nowhere"):
            self.assertEqual(node.service.chat.presence.members(room).count, 0)


class KeptPresenceTests(Kept, PresenceTests):
    """On connections that are kept: polls go past twisted.web."""
