"""What operators see: the page at ``/admin``, and what it shows, at ``/admin/state``."""

from __future__ import annotations

import time
from itertools import product
from typing import Any
from unittest import mock
from urllib.parse import quote

from twisted.internet.task import Clock

from chatd.protocol.messages import Content
from chatd.service import survey
from chatd.timing.turn_queue import TurnQueue
from tests.support.http_client import Answer
from tests.support.serving import Node, ServingTests
from tests.support.tokens import Issuer
from tests.support.waiting import until

STATE = "/admin/state"
PAGES = ("/admin", "/admin/main.js", "/admin/admin.css")


class OperatorTests(ServingTests):
    async def node(self, *options: str) -> Node:
        self.key = self.mktemp()
        with open(self.key, "w") as file:
            file.write("admin-key\n")
        return await self.serve("--admin-key", self.key, *options)

    async def admin(self, node: Node, method: str, path: str, body: Any = None) -> Answer:
        return await node.request(method, path, body, authorization="Bearer admin-key")

    async def state(self, node: Node, query: str = "") -> dict[str, Any]:
        answer = await self.admin(node, "GET", f"{STATE}{query}")
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.header("cache-control"), "no-store, no-transform")
        found: dict[str, Any] = answer.json
        return found


class StateTests(OperatorTests):
    async def test_a_node_in_use(self) -> None:
        node = await self.node("--room=den", "--room=lobby")
        await self.admin(node, "PUT", "/rooms/den/members/ann")
        await self.admin(node, "PUT", "/rooms/den", {"private": True})
        ann = await node.chat("ann", "lobby")
        ann.send({"type": "message", "room": "lobby", "text": "hi"})
        while (await ann.receive())["type"] != "message":
            pass
        await node.get("/rooms/nowhere")
        state = await self.state(node)
        self.assertEqual(state["node"], node.service.chat.presence.node)
        self.assertEqual((state["state"], state["nodes"]), ("ready", []))
        self.assertEqual((state["clients"], state["connections"]["websocket"]), (1, 1))
        self.assertEqual((state["published"], state["delivered"], state["refused"]), (1, 1, 1))
        broker = {"kind": "memory", "connected": True, "blocked": "", "alarms": [], "figures": []}
        self.assertEqual(state["broker"], broker)
        den, lobby = state["rooms"]["shown"]
        unused = {"rate": None, "last": None, "readers": None, "behind": 0}
        self.assertEqual(den, {"room": "den", "private": True, "members": 1, "count": 0, **unused})
        self.assertEqual((lobby["count"], lobby["readers"], lobby["rate"]), (1, 1, 1))
        self.assertRegex(lobby["last"], r"^20\d\d-.*Z$")
        self.assertEqual((state["rooms"]["count"], state["rooms"]["more"]), (2, False))
        [refusal] = state["refusals"]
        self.assertEqual(
            (refusal["code"], refusal["what"], refusal["address"], refusal["count"]),
            ("unknown_room", "GET /rooms/nowhere", "127.0.0.1", 1),
        )

    async def test_rooms_page_by_page(self) -> None:
        node = await self.node("--room=a1", "--room=a2", "--room=b1")

        async def shown(query: str) -> tuple[list[str], bool]:
            rooms = (await self.state(node, query))["rooms"]
            return [one["room"] for one in rooms["shown"]], rooms["more"]

        self.assertEqual(await shown(""), (["a1", "a2", "b1"], False))
        self.assertEqual(await shown("?limit=2"), (["a1", "a2"], True))
        self.assertEqual(await shown("?limit=2&after=a2"), (["b1"], False))
        self.assertEqual(await shown("?part=1"), (["a1", "b1"], False))
        self.assertEqual(await shown("?part=x"), ([], False))
        await self.admin(node, "PUT", "/rooms/a0")
        await self.admin(node, "DELETE", "/rooms/a2")
        self.assertEqual(await shown("?limit=1000"), (["a0", "a1", "b1"], False))
        for bad in ("limit=x", "limit=-1", f"part={'x' * 101}", f"after={'x' * 101}"):
            self.assertEqual((await self.admin(node, "GET", f"{STATE}?{bad}")).status, 400, bad)

    async def test_names_in_another_normal_form(self) -> None:
        """As the names of files on some machines are; that of a room is in NFC."""
        node = await self.node("--room=caf\u00e9", "--room=th\u00e9")
        decomposed = quote("e\u0301")
        for query in (f"part={decomposed}&after=caf{decomposed}", f"after=caf{decomposed}"):
            rooms = (await self.state(node, f"?{query}"))["rooms"]
            self.assertEqual([one["room"] for one in rooms["shown"]], ["th\u00e9"], query)
        found = await self.admin(node, "GET", f"/rooms?after=caf{decomposed}")
        self.assertEqual([one["room"] for one in found.json["rooms"]], ["th\u00e9"])

    async def test_readers_that_are_behind(self) -> None:
        node = await self.node()
        slow = await node.chat("slow", "lobby")
        slow.raw.transport.pauseProducing()
        room = next(iter(node.service.chat.rooms))
        for number in range(1000):
            await room.publish(Content("bob", str(number), "x" * 60_000))
            if room.lagging:
                break
        self.assertEqual(room.lagging, 1)
        state = await self.state(node)
        [reader] = state["readers"]
        self.assertEqual((reader["user"], reader["room"], state["behind"]), ("slow", "lobby", 1))
        self.assertGreater(reader["behind"], 0)
        metrics = (await node.get("/metrics")).body.splitlines()
        for line in (b"chatd_subscribers_live 0.0", b"chatd_subscribers_behind 1.0"):
            self.assertIn(line, metrics)

    async def test_many_rooms_are_looked_at_in_slices(self) -> None:
        """Also for the vitals that the other nodes are told."""
        self.patch(survey, "SLICE", 2)
        node = await self.node(*(f"--room=r{n}" for n in range(7)))
        slow = [await node.chat(f"ann{n}", f"r{n}") for n in range(7)]
        for client in slow[:3]:
            client.raw.transport.pauseProducing()
        rooms = list(node.service.chat.rooms)
        for room, number in product(rooms[:3], range(1000)):
            if not room.lagging:
                await room.publish(Content("bob", str(number), "x" * 60_000))
        replication = node.service.node.replication
        wait = mock.patch.object(TurnQueue, "wait", autospec=True, side_effect=TurnQueue.wait)
        with wait as waited:
            state = await self.state(node)
            self.assertEqual(waited.call_count, 3)
            self.assertEqual(
                (state["behind"], len(state["readers"]), state["rooms"]["count"]), (3, 3, 7)
            )
            vitals = replication.vitals()
            self.assertEqual(waited.call_count, 4, "in this turn one slice")
            replication.vitals()
            self.assertEqual(waited.call_count, 4, "the same look is for both")
            self.assertEqual((vitals.clients, vitals.behind, vitals.rooms), (7, 3, 7))
            await until(lambda: waited.call_count == 6)

    async def test_places_in_rooms_are_counted(self) -> None:
        """Who looks for garbage goes by them."""
        node = await self.node("--room=r1", "--room=r2")
        ann, ben = await node.chat("ann", "r1"), await node.chat("ben", "r1")
        ben.send({"type": "join", "room": "r2"})
        places = node.service.chat.rooms.node.places
        await until(lambda: places.taken == 3)
        ben.send({"type": "leave", "room": "r1"})
        await until(lambda: places.taken == 2)
        ann.raw.transport.abortConnection()
        await self.admin(node, "DELETE", "/rooms/r2")
        await until(lambda: places.taken == 0)

    async def test_the_broker_takes_no_messages(self) -> None:
        node = await self.node()
        node.service.broker.blocked = "low on memory"
        broker = (await self.state(node))["broker"]
        self.assertEqual((broker["blocked"], broker["alarms"]), ("low on memory", ["memory"]))
        node.service.broker.blocked = ""
        node.service.broker.interrupt()
        state = await self.state(node)
        self.assertEqual((state["broker"]["connected"], state["state"]), (False, "not ready"))

    async def test_other_nodes(self) -> None:
        node = await self.node()
        other = b'{"node":"b-1","n":1,"kind":"beat","vitals":{"version":"2.0.0","clients":7}}'
        node.service.broker.broadcast(other)
        await until(lambda: node.service.node.replication.neighbours())
        [found] = (await self.state(node))["nodes"]
        self.assertLess(found.pop("ago"), 10)
        self.assertEqual(
            found,
            {
                "node": "b-1",
                "missed": False,
                "version": "2.0.0",
                "clients": 7,
                "behind": 0,
                "rooms": 0,
            },
        )


class RightTests(OperatorTests):
    async def test_who_may_not(self) -> None:
        node = await self.node()
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}):
            answer = await node.get(STATE, **headers)
            self.assertEqual((answer.status, answer.code), (401, "unauthorized"))
        key = {"authorization": "Bearer admin-key"}
        for foreign in ({"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}):
            answer = await node.get(STATE, **key, **foreign)
            self.assertEqual((answer.status, answer.code), (403, "forbidden"), foreign)
        answer = await self.admin(node, "POST", STATE)
        self.assertEqual((answer.status, answer.header("allow")), (405, "GET, HEAD, OPTIONS"))
        answer = await self.admin(node, "HEAD", STATE)
        self.assertEqual((answer.status, answer.body), (200, b""))

    async def test_who_guesses_is_slowed_down(self) -> None:
        node = await self.node()
        node.service.admission.rights.clock = Clock()  # nothing is forgiven meanwhile
        guesses = [f"Bearer {number}" for number in range(45)]
        statuses = [(await node.get(STATE, authorization=guess)).status for guess in guesses]
        self.assertEqual(set(statuses), {401, 429})
        self.assertEqual((await self.admin(node, "GET", STATE)).status, 429, "a lucky guess shows")

    async def test_tokens(self) -> None:
        issuer = Issuer(self.mktemp())
        node = await self.serve(*issuer.options)
        soon = time.time() + 60
        for token, status in (
            (issuer.token("root", soon, admin=True), 200),
            (issuer.token("ann", soon), 403),
        ):
            shown = await node.get(STATE, authorization=f"Bearer {token}")
            in_url = await node.get(f"{STATE}?token={quote(token)}")
            self.assertEqual((shown.status, in_url.status), (status, status))

    async def test_without_administration_there_is_nothing(self) -> None:
        node = await self.serve()
        for path in (*PAGES, STATE):
            answer = await node.get(path, authorization="Bearer x")
            self.assertEqual((answer.status, answer.code), (404, "bad_request"), path)

    async def test_a_draining_node_says_so_to_nobody(self) -> None:
        node = await self.node()
        node.service.chat.draining = True
        self.assertEqual((await self.admin(node, "GET", STATE)).status, 503)
        node.service.chat.draining = False


class PageTests(OperatorTests):
    async def test_the_page_and_its_files(self) -> None:
        node = await self.node()
        chat = await node.get("/")
        for path in PAGES:
            page = await node.get(path, accept_encoding="br", sec_fetch_site="cross-site")
            self.assertEqual((page.status, page.header("content-encoding")), (200, "br"), path)
            for name in ("content-security-policy", "referrer-policy", "cache-control"):
                self.assertEqual(page.header(name), chat.header(name))
            tag = str(page.header("etag"))
            again = await node.get(path, accept_encoding="br", if_none_match=tag)
            self.assertEqual(again.status, 304)
            foreign = await node.get(path, origin="https://evil.example")
            self.assertEqual(foreign.status, 403)
        answer = await node.post("/admin", b"")
        self.assertEqual((answer.status, answer.header("allow")), (405, "GET, HEAD, OPTIONS"))
        for path in ("/admin/", "/admin/index.html"):
            self.assertEqual((await node.get(path)).status, 404, path)
