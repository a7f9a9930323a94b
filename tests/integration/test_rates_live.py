"""How often one client may do something: publish, ask, make rooms, guess keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from chatd.access.fair_queue import QueuePlace
from chatd.directory.directory import Directory
from chatd.service import session
from chatd.transports.http.answer import PIECE
from tests.support.guarded import ADMIN_KEY, SETUP_SECRET, bearing, token
from tests.support.http_client import Answer
from tests.support.limits import LimitsTests
from tests.support.tokens import Issuer
from tests.support.waiting import until


class RateTests(LimitsTests):
    async def test_per_connection(self) -> None:
        node = await self.serve("--rate", "2/s")
        node.clock.hold()
        sockets = [await node.chat("ann", "lobby") for _ in range(2)]
        for one in sockets:
            for n in range(4):
                await one.say("lobby", f"{n}")
            over = {"type": "message", "room": "lobby", "text": "x", "id": "over"}
            heard = await one.ask_for("error", over)
            self.assertEqual((heard["code"], heard["id"]), ("rate_limited", "over"))
        node.clock.advance(0.5)
        await sockets[0].say("lobby", "in time")
        self.assertEqual(self.refused(node, "rate_limited"), 2)

    async def test_typing(self) -> None:
        """Shown once a second for each room and connection; the rest is dropped without a word."""
        self.assertEqual(session.TYPING, 1.0)
        self.patch(session, "TYPING", 20.0)  # on a busy machine so many may take longer than that
        node = await self.serve("--room", "den", "--room", "lobby")
        ann = await node.chat("ann", "lobby", "den")
        ben = await node.chat("ben", "lobby", "den")
        await ann.fence()
        for _ in range(2):
            for n in range(500):
                ben.send({"type": "typing", "room": ("lobby", "den")[n % 2]})
            self.assertEqual([one for one in await ben.fence() if one["type"] != "presence"], [])
            shown = [one["room"] for one in await ann.fence() if one["type"] == "typing"]
            self.assertEqual(sorted(shown), ["den", "lobby"])
            node.clock.advance(20)

    async def test_other_requests(self) -> None:
        """A bucket of their own, large enough for all rooms at once, several times."""
        issuer = Issuer(self.mktemp())
        node = await self.serve(*issuer.options)
        token = issuer.token("ann", node.clock.seconds() + 3600)
        for request, answer in (
            ({"type": "leave", "room": "den"}, "left"),
            ({"type": "join", "room": "lobby"}, "joined"),
            ({"type": "auth", "token": token}, "welcome"),
        ):
            socket = await node.websocket(f"/?token={token}")
            await socket.receive()
            for _ in range(1000):
                socket.send(request)
            heard: list[dict[str, Any]] = []
            while len(heard) < 1000:
                heard += [one] if (one := await socket.receive())["type"] != "presence" else []
            passed = [one for one in heard if one["type"] == answer]
            refused = [one for one in heard if one.get("code") == "rate_limited"]
            self.assertEqual(len(passed) + len(refused), 1000, request)
            self.assertGreaterEqual(len(passed), 400, request)
            self.assertGreater(len(refused), 0, request)
            self.assertEqual(refused[0].get("room"), request.get("room"))
            await socket.say("lobby", "this counts by itself")
            node.clock.advance(1)
            self.assertEqual((await socket.ask_for(answer, request))["type"], answer)
            socket.raw.abort()

    async def test_the_originals_clients(self) -> None:
        node = await self.serve("--rate", "1/s")
        node.clock.hold()
        socket = await node.websocket("/?roomname=lobby&username=ann", protocol=None)
        await socket.receive_text()
        for n in range(3):
            socket.send({"status": "message", "message": f"{n}", "roomname": "lobby"})
        heard = sorted([await socket.receive_text() for _ in range(3)])
        self.assertEqual(heard[:2], ["0", "1"])
        self.assertRegex(heard[2], "^error: rate_limited: ")

    async def spend(self, publish: Callable[[], Any], burst: int) -> None:
        """``burst`` publishes pass and one more does not."""
        statuses = [await publish() for _ in range(burst + 1)]
        self.assertEqual([s.status for s in statuses], [statuses[0].status] * burst + [429])
        self.assertIn(statuses[0].status, (200, 201))
        self.assertEqual(statuses[-1].code, "rate_limited")
        self.assertEqual(statuses[-1].header("retry-after"), "1")

    async def test_over_http_per_user_with_tokens(self) -> None:
        node = await self.guarded("--rate", "1/s", "--trusted-proxy", "127.0.0.1")
        node.clock.hold()
        for user in ("ann", "ben"):
            froms = iter(["203.0.113.1", "203.0.113.2", "2001:db8::1"])
            shown = bearing(token(node, user))

            def publish(froms: Any = froms, shown: Any = shown) -> Any:
                path = "/rooms/hall/messages"
                return node.post(path, {"text": "x"}, X_Forwarded_For=next(froms), **shown)

            await self.spend(publish, 2)

    async def test_over_http_per_user_and_address_in_open_mode(self) -> None:
        node = await self.serve("--rate", "1/s", "--trusted-proxy", "127.0.0.1")
        node.clock.hold()
        said = {"status": "message", "message": "x", "username": "ann", "roomname": "lobby"}
        for user, address in (
            ("ann", "203.0.113.1"),
            ("ann", "203.0.113.2"),
            ("ben", "203.0.113.1"),
        ):
            said["username"] = user
            await self.spend(lambda: node.post("/poll", said, X_Forwarded_For=address), 2)
        froms = iter(f"2001:db8::{n}" for n in range(9))
        # one site has more addresses than anyone can count
        await self.spend(lambda: node.post("/poll", said, X_Forwarded_For=next(froms)), 2)

    async def test_a_large_answer_counts_as_several_requests(self) -> None:
        """About one for each piece: what an address may ask is about what it costs."""
        node = await self.serve("--rate", "10000/s")
        ann = await node.chat("ann")
        for _ in range(20):
            await ann.say("lobby", "x" * 16_000)
        asked = mock.Mock(side_effect=QueuePlace.take, autospec=True)
        self.patch(QueuePlace, "take", lambda place: asked(place))
        answer = await node.get("/rooms/lobby/messages?last=20")
        self.assertEqual(len(answer.json["messages"]), 20)
        self.assertGreaterEqual(asked.call_count, len(answer.body) // PIECE)

    async def test_invented_users_share_an_address(self) -> None:
        node = await self.serve("--rate", "5/s", "--trusted-proxy", "127.0.0.1")

        async def publish(user: str, address: str) -> Answer:
            path = f"/rooms/lobby/messages?username={user}"
            return await node.post(path, {"text": "x"}, X_Forwarded_For=address)

        await self.spent(node, lambda n: publish(f"u{n}", "203.0.113.1"), 20, 10)
        self.assertEqual((await publish("u1", "203.0.113.2")).status, 201)


class RoomTests(LimitsTests):
    async def test_rooms_made_per_address(self) -> None:
        """By the set-up port and by PUT together; what exists costs nothing."""
        node = await self.serve("--room-rate", "2/s", *self.locks())
        node.clock.hold()
        raw = await node.raw("setup")
        for n in range(6):
            asked = {"roomname": f"r{n}", "secret": SETUP_SECRET}
            raw.send(json.dumps(asked).encode() + b"\n")
        said = [await raw.until(b"\n") for _ in range(6)]
        self.assertEqual([one[:3] for one in said], [b"200"] * 4 + [b"429"] * 2)
        self.assertIn(b"new rooms a second", said[4])
        answer = await node.request("PUT", "/rooms/r9", {}, **bearing(ADMIN_KEY))
        self.assertEqual((answer.status, answer.code), (429, "rate_limited"))
        self.assertEqual(answer.header("retry-after"), "1")
        answer = await node.request("PUT", "/rooms/r0", {}, **bearing(ADMIN_KEY))
        self.assertEqual(answer.status, 200)
        node.clock.advance(0.5)
        answer = await node.request("PUT", "/rooms/r9", {}, **bearing(ADMIN_KEY))
        self.assertEqual(answer.status, 201)

    async def test_rooms_in_all(self) -> None:
        node = await self.serve("--max-rooms", "3", *self.locks())
        for room, status in (("a", 201), ("b", 201), ("c", 503), ("a", 200)):
            answer = await node.request("PUT", f"/rooms/{room}", {}, **bearing(ADMIN_KEY))
            self.assertEqual(answer.status, status, room)
            if status == 503:
                self.assertIn("--max-rooms", answer.json["text"])
                self.assertIs(answer.json["stored"], False)
        raw = await node.raw("setup")
        for room in ("c", "d"):
            asked = {"roomname": room, "secret": SETUP_SECRET}
            raw.send(json.dumps(asked).encode() + b"\n")
            self.assertRegex(await raw.until(b"\n"), b"^503 unavailable: .*--max-rooms")
        await node.request("DELETE", "/rooms/b", None, **bearing(ADMIN_KEY))
        answer = await node.request("PUT", "/rooms/c", {}, **bearing(ADMIN_KEY))
        self.assertEqual(answer.status, 201)

    async def test_rooms_that_are_being_made_count(self) -> None:
        node = await self.serve("--max-rooms", "2", *self.locks())
        create, begun = Directory.create, []
        going: Deferred[None] = Deferred()

        async def slow(directory: Directory, name: str, private: bool = False) -> bool:
            begun.append(name)
            await going
            return await create(directory, name, private)

        async def put(room: str) -> int:
            return (await node.request("PUT", f"/rooms/{room}", {}, **bearing(ADMIN_KEY))).status

        with mock.patch.object(Directory, "create", slow):
            first = Deferred.fromCoroutine(put("a"))
            await until(lambda: begun == ["a"])
            self.assertEqual(await put("b"), 503)
            going.callback(None)
            self.assertEqual(await first, 201)
        await node.request("DELETE", "/rooms/a", None, **bearing(ADMIN_KEY))
        self.assertEqual(await put("b"), 201)


class GuessTests(LimitsTests):
    """Keys and secrets that are tried, one after the other."""

    async def test_the_admin_key(self) -> None:
        node = await self.serve(*self.locks(), "--trusted-proxy", "127.0.0.1")
        node.clock.hold()

        async def show(key: str, address: str = "203.0.113.1") -> Answer:
            return await node.get("/rooms", X_Forwarded_For=address, **bearing(key))

        await self.spent(node, lambda n: show(f"guess{n}"), 40, 1)
        for _ in range(9):
            await show("guess")
        lucky = await show(ADMIN_KEY)
        self.assertEqual((lucky.status, lucky.code), (429, "rate_limited"))
        self.assertEqual((await show(ADMIN_KEY, "203.0.113.2")).status, 200)
        node.clock.advance(2)
        self.assertEqual([(await show(ADMIN_KEY)).status for _ in range(50)], [200] * 50)

    async def test_in_token_mode(self) -> None:
        """What has the form of a token is no guess at the key; it is never slowed down."""
        node = await self.guarded()
        for _ in range(60):
            self.assertEqual((await node.get("/rooms", **bearing("a.b.c"))).status, 401)
        await self.spent(node, lambda _: node.get("/rooms", **bearing("guess")), 40, 1)

    async def test_the_set_up_secret(self) -> None:
        node = await self.guarded()
        node.clock.hold()
        said = b""
        for _ in range(6):
            raw = await node.raw("setup")
            raw.send(b'{"roomname":"r","secret":"guess"}\n' * 10)
            raw.end()
            said += await raw.rest()
        self.assertGreaterEqual(said.count(b"401 "), 40)
        self.assertGreater(said.count(b"429 "), 0)
        raw = await node.raw("setup")
        raw.send(json.dumps({"roomname": "r", "secret": SETUP_SECRET}).encode())
        self.assertRegex(await raw.until(b"."), b"^429 rate_limited")
