"""Rooms and their members over HTTP, and who may change them (protocol, "HTTP")."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from chatd.directory.stream import DirectoryState
from chatd.transports.http import rooms
from tests.support.http_client import Answer
from tests.support.serving import Node, ServingTests
from tests.support.tokens import Issuer


class AdminTests(ServingTests):
    async def node(self) -> Node:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("admin-key\n")
        return await self.serve("--admin-key", path)

    async def admin(self, node: Node, method: str, path: str, body: Any = None) -> Answer:
        return await node.request(method, path, body, authorization="Bearer admin-key")

    async def test_a_room_as_anyone_sees_it(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        cursor = (await ann.join("lobby"))["cursor"]
        answer = await node.get("/rooms/lobby")
        self.assertEqual(
            (answer.status, answer.json),
            (
                200,
                {
                    "room": "lobby",
                    "private": False,
                    "cursor": cursor,
                    "members": ["ann"],
                    "count": 1,
                },
            ),
        )

    async def test_members_are_shown_to_administrators(self) -> None:
        node = await self.node()
        await self.admin(node, "PUT", "/rooms/den", {"private": True})
        await self.admin(node, "PUT", "/rooms/den/members/ann")
        answer = await self.admin(node, "GET", "/rooms/den/members")
        self.assertEqual(answer.json["members"], ["ann"])
        self.assertEqual((await node.get("/rooms/den/members")).status, 401)
        self.assertEqual((await self.admin(node, "GET", "/rooms/nowhere/members")).status, 404)

    async def test_a_body_out_of_a_file_that_begins_with_a_byte_order_mark(self) -> None:
        node = await self.node()
        answer = await self.admin(node, "PUT", "/rooms/den", b'\xef\xbb\xbf{"private":true}')
        self.assertEqual((answer.status, answer.json["private"]), (201, True))

    async def test_a_private_room_for_the_admin_key(self) -> None:
        node = await self.node()
        await self.admin(node, "PUT", "/rooms/den", {"private": True})
        answer = await self.admin(node, "GET", "/rooms/den")
        self.assertEqual((answer.status, answer.json["private"]), (200, True))
        self.assertEqual((await self.admin(node, "GET", "/rooms/nowhere")).status, 404)
        guess = {"authorization": "Bearer guess"}
        for path, status in (("/rooms/den", 403), ("/rooms/lobby", 200)):
            self.assertEqual((await node.get(path, **guess)).status, status)
        for _ in range(50):
            await node.get("/rooms/den", **guess)
        self.assertEqual((await self.admin(node, "GET", "/rooms/den")).status, 403, "guessed")

    async def test_rooms_page_by_page(self) -> None:
        node = await self.node()
        for name in ("a", "b", "c"):
            await self.admin(node, "PUT", f"/rooms/{name}")
        seen: list[str] = []
        while True:
            after = f"&after={seen[-1]}" if seen else ""
            page = (await self.admin(node, "GET", f"/rooms?limit=3{after}")).json["rooms"]
            if not page:
                break
            seen += [room["room"] for room in page]
        self.assertEqual(seen, ["a", "b", "c", "lobby"])
        self.assertEqual((await self.admin(node, "GET", "/rooms?limit=x")).status, 400)

    async def test_what_rooms_keep(self) -> None:
        node = await self.node()
        await self.admin(node, "PUT", "/rooms/den")
        for text in ("one", "two"):
            await node.post("/rooms/lobby/messages?username=ann", {"text": text})
        den, lobby = (await self.admin(node, "GET", "/rooms?details=1")).json["rooms"]
        kept = {"messages": 0, "bytes": 0, "last": None}
        self.assertEqual(den, {"room": "den", "private": False, "count": 0, **kept})
        self.assertEqual(lobby["messages"], 2)
        self.assertGreater(lobby["bytes"], 100)
        [last] = (await node.get("/rooms/lobby/messages?last=1")).json["messages"]
        self.assertEqual(lobby["last"], last["time"])
        self.assertEqual((await self.admin(node, "GET", "/rooms?details=yes")).status, 400)
        node.service.broker.interrupt()
        [_, lobby] = (await self.admin(node, "GET", "/rooms?details=1")).json["rooms"]
        self.assertIsNone(lobby["messages"])
        node.service.broker.resume()

    async def test_create(self) -> None:
        node = await self.node()
        answer = await self.admin(node, "PUT", "/rooms/new")
        self.assertEqual((answer.status, answer.json), (201, {"room": "new", "private": False}))
        answer = await self.admin(node, "PUT", "/rooms/new", {})
        self.assertEqual((answer.status, answer.json), (200, {"room": "new", "private": False}))
        answer = await self.admin(node, "PUT", "/rooms/den", {"private": True})
        self.assertEqual((answer.status, answer.json), (201, {"room": "den", "private": True}))
        self.assertEqual(
            (await node.post("/rooms/new/messages?username=a", {"text": "x"})).status, 201
        )

    async def test_private_changes_a_room_that_exists(self) -> None:
        node = await self.node()
        for private in (True, True, False):
            answer = await self.admin(node, "PUT", "/rooms/lobby", {"private": private})
            self.assertEqual((answer.status, answer.json["private"]), (200, private))
            status = 403 if private else 200
            self.assertEqual((await node.get("/rooms/lobby?username=ann")).status, status)
        await self.admin(node, "PUT", "/rooms/lobby", {"private": True})
        self.assertTrue((await self.admin(node, "PUT", "/rooms/lobby")).json["private"])

    async def test_list(self) -> None:
        node = await self.node()
        await self.admin(node, "PUT", "/rooms/den", {"private": True})
        await node.chat("ann", "lobby")
        answer = await self.admin(node, "GET", "/rooms")
        rooms = [
            {"room": "den", "private": True, "count": 0},
            {"room": "lobby", "private": False, "count": 1},
        ]
        self.assertEqual((answer.status, answer.json), (200, {"rooms": rooms}))

    async def test_delete(self) -> None:
        node = await self.node()
        answer = await self.admin(node, "DELETE", "/rooms/lobby")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertIsNone(answer.header("content-type"))
        for method in ("DELETE", "GET"):
            answer = await self.admin(node, method, "/rooms/lobby")
            self.assertEqual((answer.status, answer.code), (404, "unknown_room"))

    async def test_many_members_are_listed_in_order(self) -> None:
        """In pieces, sorted a part in a turn: all others would wait for a hundred thousand."""
        node = await self.node()
        await self.admin(node, "PUT", "/rooms/den", {"private": True})
        self.patch(rooms, "MEMBERS", 3)
        self.patch(rooms, "SORTED", 4)
        names = [f"user{(n * 7) % 10}" for n in range(10)]
        for name in names:
            await self.admin(node, "PUT", f"/rooms/den/members/{name}")
        answer = await self.admin(node, "GET", "/rooms/den/members")
        expected = {"room": "den", "private": True, "members": sorted(names)}
        self.assertEqual(answer.json, {**expected, "present": [], "count": 0})
        self.assertEqual(answer.header("transfer-encoding"), "chunked")

    async def test_members(self) -> None:
        node = await self.node()
        await self.admin(node, "PUT", "/rooms/den", {"private": True})
        for user in ("José", "Ann Smith", "O'Brien", "auth0|abc123", "a/b", "हिन्दी", "50% off?#"):
            shown = quote(user, safe="")
            for method, status in (("PUT", 200), ("PUT", 200), ("DELETE", 403), ("DELETE", 403)):
                answer = await self.admin(node, method, f"/rooms/den/members/{shown}")
                self.assertEqual((answer.status, answer.body), (204, b""), user)
                answer = await node.get(f"/rooms/den?username={shown}")
                self.assertEqual(answer.status, status, user)
        for method in ("PUT", "DELETE"):
            answer = await self.admin(node, method, "/rooms/nowhere/members/ann")
            self.assertEqual((answer.status, answer.code), (404, "unknown_room"))

    async def test_bad_requests(self) -> None:
        node = await self.node()
        for method, path, body in (
            ("PUT", "/rooms/a%20b", None),
            ("PUT", "/rooms/new", b"hello"),
            ("PUT", "/rooms/new", b"[]"),
            ("PUT", "/rooms/new", {"private": "yes"}),
            ("PUT", "/rooms/new", {"private": 1}),
            ("DELETE", "/rooms/a%20b", None),
            ("PUT", "/rooms/lobby/members/a%20%20b", None),
            ("DELETE", "/rooms/lobby/members/a%0Ab", None),
        ):
            answer = await self.admin(node, method, path, body)
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), (method, path))
        self.assertEqual((await node.get("/rooms/new")).status, 404)

    ROUTES = (
        ("GET", "/rooms"),
        ("PUT", "/rooms/new"),
        ("PUT", "/rooms/lobby"),
        ("DELETE", "/rooms/lobby"),
        ("DELETE", "/rooms/nowhere"),
        ("PUT", "/rooms/lobby/members/ann"),
        ("DELETE", "/rooms/lobby/members/ann"),
    )

    async def test_without_the_key(self) -> None:
        node = await self.node()
        for method, path in self.ROUTES:
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}):
                answer = await node.request(method, path, **headers)
                self.assertEqual((answer.status, answer.code), (401, "unauthorized"), path)
        self.assertEqual((await node.get("/rooms/lobby")).status, 200)

    async def test_off_without_a_key(self) -> None:
        node = await self.serve()
        for method, path in self.ROUTES:
            answer = await node.request(method, path, authorization="Bearer ")
            self.assertIn((answer.status, answer.code), {(401, "unauthorized"), (403, "forbidden")})
            answer = await node.request(method, path, authorization="Bearer x")
            self.assertEqual((answer.status, answer.code), (403, "forbidden"))

    async def test_admin_tokens(self) -> None:
        issuer = Issuer(self.mktemp())
        node = await self.serve(*issuer.options)
        soon = node.clock.seconds() + 60
        admin = f"Bearer {issuer.token('root', soon, admin=True)}"
        other = f"Bearer {issuer.token('ann', soon)}"
        for method, path in self.ROUTES:
            answer = await node.request(method, path, authorization=other)
            self.assertEqual((answer.status, answer.code), (403, "forbidden"))
        answer = await node.request("PUT", "/rooms/new", {"private": True}, authorization=admin)
        self.assertEqual(answer.status, 201)
        self.assertEqual((await node.get("/rooms/new", authorization=other)).status, 403)

    async def test_the_broker_is_away(self) -> None:
        node = await self.node()
        node.service.broker.interrupt()
        for method, path in (
            ("PUT", "/rooms/new"),
            ("DELETE", "/rooms/lobby"),
            ("PUT", "/rooms/lobby/members/ann"),
        ):
            answer = await self.admin(node, method, path)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), path)
            self.assertIs(answer.json["stored"], False, path)
            self.assertGreaterEqual(int(answer.header("retry-after") or 0), 1)
        node.service.broker.resume()

    async def test_which_rooms_there_are_is_not_known_yet(self) -> None:
        """None is not the answer."""
        node = await self.node()
        node.service.chat.directory.stream.state = DirectoryState.LOADING
        answer = await self.admin(node, "GET", "/rooms")
        self.assertEqual((answer.status, answer.code), (503, "unavailable"))
        self.assertGreaterEqual(int(answer.header("retry-after") or 0), 1)
