"""HTTP: routes, methods, errors, limits, tokens, origins (protocol, sections 2 and 5)."""

from __future__ import annotations

import json
import posixpath
import re
from typing import Any
from unittest import mock
from urllib.parse import quote

from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from tests.support.http_client import Answer
from tests.support.kept import Kept
from tests.support.serving import Node, ServingTests
from tests.support.tokens import Issuer
from tests.support.waiting import until

SAY = "/rooms/lobby/messages?username=ann"
FORM = "application/x-www-form-urlencoded"


class RoutingTests(ServingTests):
    async def test_unknown_paths(self) -> None:
        node = await self.serve()
        for path in (
            "/x",
            "/rooms/lobby/x",
            "/rooms/lobby/",
            "/rooms/lobby/messages/1",
            "//",
            "/ws/x",
        ):
            for method in ("GET", "POST", "OPTIONS", "DELETE"):
                answer = await node.request(method, path, b"")
                self.assertEqual((answer.status, answer.code), (404, "bad_request"), path)

    async def test_wrong_methods(self) -> None:
        node = await self.serve()
        for path, allow in (
            ("/", "GET"),
            ("/chatd.js", "GET"),
            ("/ws", "GET"),
            ("/healthz", "GET"),
            ("/readyz", "GET"),
            ("/metrics", "GET"),
            ("/poll", "GET, POST"),
            ("/rooms", "GET"),
            ("/rooms/lobby", "GET, PUT, DELETE"),
            ("/rooms/lobby/messages", "GET, POST"),
            ("/rooms/lobby/events", "GET"),
            ("/rooms/lobby/members/ann", "PUT, DELETE"),
        ):
            methods = set(allow.split(", "))
            known = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
            for method in {"PUT", "PATCH", "BREW", "DELETE", "POST", "TRACE"} - known:
                answer = await node.request(method, path, b"")
                self.assertEqual((answer.status, answer.code), (405, "bad_request"), path)
                self.assertEqual(set(str(answer.header("allow")).split(", ")), known, path)

    async def test_head(self) -> None:
        node = await self.serve()
        for path in ("/", "/chatd.js", "/healthz", "/rooms/lobby", "/rooms/lobby/messages?last=1"):
            get, head = await node.get(path), await node.request("HEAD", path)
            self.assertEqual((head.status, head.body), (get.status, b""), path)
            self.assertEqual(head.header("content-length"), get.header("content-length"), path)
            self.assertEqual(head.header("content-type"), get.header("content-type"), path)
        stream = await node.request("HEAD", "/rooms/lobby/events")
        kind = "text/event-stream; charset=utf-8"
        self.assertEqual((stream.status, stream.header("content-type")), (200, kind))
        self.assertEqual((await node.request("HEAD", "/rooms/nowhere/events")).status, 404)

    async def test_options(self) -> None:
        node = await self.serve()
        answer = await node.request("OPTIONS", "/rooms/lobby/messages")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertEqual(answer.header("allow"), "GET, POST, HEAD, OPTIONS")

    async def test_json_in_utf8(self) -> None:
        node = await self.serve("--room", "küche")
        answer = await node.get("/rooms/k%C3%BCche")
        self.assertEqual(answer.header("content-type"), "application/json; charset=utf-8")
        self.assertIn("küche".encode(), answer.body)

    async def test_paths_that_are_no_names(self) -> None:
        node = await self.serve()
        nameless = ("%ff", "a%20b", "a%2Fb", "%00", "a%0Ab", "", ".", "..", "%2E", "%2e%2E")
        for path in (*nameless, quote("½"), quote("a\u3164"), quote("\u0301a"), "r" * 101):
            answer = await node.get(f"/rooms/{path}/messages")
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), path)

    async def test_keep_alive(self) -> None:
        """Several requests on one connection, asked for at once, answered in order."""
        node = await self.serve()
        raw = await node.raw("http")
        for path in ("/healthz", "/rooms/nowhere", "/readyz"):
            raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        for status in (b"200", b"404", b"200"):
            head = await raw.until(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 " + status), head)
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            json.loads(await raw.take(length))


class FaultTests(ServingTests):
    async def test_a_fault_of_ours_is_logged_without_what_was_shown(self) -> None:
        node = await self.serve()
        events: list[LogEvent] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        broken = mock.Mock(side_effect=ZeroDivisionError)
        with mock.patch.object(type(node.service.chat), "entry", broken):
            answer = await node.get(
                "/rooms/lobby?token=hush&username=ann", Authorization="Bearer hush"
            )
        self.assertEqual((answer.status, answer.json["text"]), (500, "The server failed."))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        logged = [formatEvent(event) for event in events]
        self.assertTrue(any("/rooms/lobby" in line for line in logged), logged)
        self.assertFalse(any("hush" in line for line in logged), logged)

    def break_publishes(self, node: Node) -> None:
        """Have the node fail after a message may have been stored."""

        def broken(*_: object) -> Deferred[None]:
            return fail(ZeroDivisionError())

        self.patch(node.service.broker, "append", broken)

    async def test_an_answer_to_a_publish_names_the_message(self) -> None:
        """So that it can be sent again as the same one; whether it is stored is not known."""
        node = await self.serve()
        self.break_publishes(node)
        say = "/rooms/lobby/messages?username=ann"
        old = {"status": "message", "message": "x", "username": "ann", "roomname": "lobby"}
        for path, body in ((say, {"text": "x", "id": "k"}), (say, {"text": "x"}), ("/poll", old)):
            answer = await node.post(path, body)
            self.assertEqual((answer.status, answer.json["code"]), (500, "unavailable"))
            self.assertRegex(answer.json["id"], "^k$" if "id" in body else "^[0-9a-f]{32}$")
            self.assertNotIn("stored", answer.json)
        ann = await node.chat("ann")
        for given in ({"id": "k"}, {}):
            ann.send({"type": "message", "room": "lobby", "text": "x", **given})
            frame = await ann.find("error")
            self.assertRegex(frame["id"], "^k$" if given else "^[0-9a-f]{32}$")
            self.assertNotIn("stored", frame)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)

    async def test_a_failure_before_the_message_is_read(self) -> None:
        """The id may be in a header; nothing was stored."""
        node = await self.serve()
        with mock.patch.object(type(node.service.chat), "entry", side_effect=ZeroDivisionError):
            path = "/rooms/lobby/messages?username=ann"
            answer = await node.post(path, {"text": "x"}, Idempotency_Key="k")
        self.assertEqual((answer.status, answer.json["id"]), (500, "k"))
        self.assertIs(answer.json["stored"], False)
        self.flushLoggedErrors(ZeroDivisionError)

    async def test_an_event_stream_is_sent_on(self) -> None:
        """An EventSource would take the status 500 as final."""
        node = await self.serve()
        with mock.patch.object(type(node.service.chat), "room", side_effect=ZeroDivisionError):
            answer = await node.get("/rooms/lobby/events", Accept="text/event-stream")
        self.assertEqual(answer.status, 200)
        self.assertRegex(answer.body, rb"(?s)^retry: [0-9]+\n.*event: refused\ndata: .*unavailable")
        self.flushLoggedErrors(ZeroDivisionError)


class ConnectionTests(ServingTests):
    async def refused(self, node: Node) -> None:
        for path in (
            "/rooms/lobby/events",
            "/rooms/lobby/messages?wait=1",
            "/poll?roomname=lobby&wait=1",
        ):
            answer = await node.get(path)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), path)
            self.assertGreaterEqual(int(answer.header("retry-after") or 0), 1)

    async def test_sockets_streams_and_waiting_polls_count(self) -> None:
        node = await self.serve("--max-connections-per-address", "3")
        total = node.service.admission.connections
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        socket = await node.chat("ann")
        stream = await node.events("/rooms/lobby/events")
        poll = await node.ask("GET", f"/rooms/lobby/messages?after={cursor}&wait=30")
        await until(lambda: total.total == 3)
        await self.refused(node)
        for path in (
            "/healthz",
            "/readyz",
            "/metrics",
            "/",
            "/rooms/lobby",
            "/rooms/lobby/messages",
        ):
            self.assertEqual((await node.get(path)).status, 200, path)
        self.assertEqual((await node.post(SAY, {"text": "x"})).status, 201)
        self.assertEqual((await poll.answer()).status, 200)
        await until(lambda: total.total == 2)
        socket.raw.abort()
        stream.close()
        await until(lambda: total.total == 0)

    async def test_who_hangs_up_makes_room(self) -> None:
        node = await self.serve("--max-connections", "1")
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        for path in ("/messages?wait=60&after=", "/events?after="):
            http = await node.ask("GET", f"/rooms/lobby{path}{cursor}")
            await until(lambda: node.service.admission.connections.total == 1)
            await self.refused(node)
            http.raw.abort()
            await until(lambda: node.service.admission.connections.total == 0)


class KeptConnectionTests(Kept, ConnectionTests):
    """On connections that are kept: polls go past twisted.web."""


class UnavailableTests(ServingTests):
    async def test_the_broker_is_away(self) -> None:
        node = await self.serve()
        await node.post(SAY, {"text": "x"})
        node.service.broker.interrupt()
        answer = await node.post(SAY, {"text": "x", "id": "k"})
        self.assertEqual((answer.status, answer.code), (503, "unavailable"))
        self.assertGreaterEqual(int(answer.header("retry-after") or 0), 1)
        for method in ("GET", "HEAD", "OPTIONS"):
            self.assertEqual((await node.request(method, "/readyz")).status, 503)
        self.assertEqual((await node.get("/healthz")).status, 200)
        node.service.broker.resume()
        self.assertEqual((await node.post(SAY, {"text": "x", "id": "k"})).status, 201)
        for method in ("GET", "HEAD", "OPTIONS"):
            self.assertEqual((await node.request(method, "/readyz")).status, 200)

    async def test_a_preflight_is_not_asked_whether_the_node_is_ready(self) -> None:
        node = await self.serve("--origin", "https://chat.example")
        node.service.broker.interrupt()
        shown = {"Origin": "https://chat.example", "Access-Control-Request-Method": "GET"}
        answer = await node.request("OPTIONS", "/readyz", **shown)
        self.assertEqual((answer.status, answer.header("allow")), (204, "GET, HEAD, OPTIONS"))
        node.service.broker.resume()


class TokenTests(ServingTests):
    async def test_both_ways_to_show_one(self) -> None:
        issuer = Issuer(self.mktemp())
        node = await self.serve(*issuer.options)
        token = issuer.token("ann", node.clock.seconds() + 60)
        shown = {"authorization": f"Bearer {token}"}
        answer = await node.post("/rooms/lobby/messages?username=mallory", {"text": "x"}, **shown)
        self.assertEqual(answer.status, 201)
        by_query = await node.get(f"/rooms/lobby/messages?last=1&token={token}")
        self.assertEqual(by_query.json["messages"][0]["user"], "ann")
        node.clock.advance(60)
        late = await node.get("/rooms/lobby", **shown)
        self.assertEqual((late.status, late.code), (401, "unauthorized"))

    async def test_none_and_bad_ones(self) -> None:
        issuer = Issuer(self.mktemp())
        node = await self.serve(*issuer.options)
        bad = {"authorization": "Bearer x.y.z"}
        for path in (
            "/rooms/lobby",
            "/rooms/lobby/messages",
            "/rooms/lobby/events",
            "/poll?roomname=lobby",
        ):
            for headers in ({}, bad):
                answer = await node.get(path, **headers)
                self.assertEqual((answer.status, answer.code), (401, "unauthorized"), path)
                self.assertEqual(answer.header("www-authenticate"), "Bearer")
        for path in ("/", "/healthz", "/readyz", "/metrics"):
            self.assertEqual((await node.get(path)).status, 200)


class OriginTests(ServingTests):
    async def test_refused_before_anything_is_done(self) -> None:
        node = await self.serve("--admin-key", self.key())
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": ""},
            {"host": "evil.example"},
        ):
            for method, path in (
                ("POST", SAY),
                ("POST", "/poll"),
                ("GET", "/rooms/lobby/messages"),
                ("GET", "/rooms/lobby/events"),
                ("OPTIONS", "/rooms/lobby/messages"),
                ("PUT", "/rooms/new"),
                ("GET", "/"),
                ("GET", "/nothing"),
            ):
                answer = await node.request(
                    method, path, "text=x", content_type=FORM, authorization="Bearer key", **headers
                )
                self.assertEqual((answer.status, answer.code), (403, "forbidden"), (path, headers))
                self.assertIsNone(answer.header("access-control-allow-origin"))
        self.assertIn("--host", answer.json["text"]) if "host" in headers else None
        self.assertEqual((await node.get("/rooms/lobby/messages?last=9")).json["messages"], [])
        self.assertEqual((await node.get("/rooms/new")).status, 404)

    def key(self) -> str:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("key")
        return path

    async def test_same_origin(self) -> None:
        node = await self.serve()
        own = f"http://127.0.0.1:{node.port('http')}"
        self.assertEqual((await node.post(SAY, {"text": "x"}, origin=own)).status, 201)
        answer = await node.get("/rooms/lobby", host="localhost:80", origin="http://localhost")
        self.assertEqual(answer.status, 200)

    def cors(self, answer: Answer) -> dict[str, str | None]:
        names = ("origin", "credentials", "methods", "headers")
        return {name: answer.header(f"access-control-allow-{name}") for name in names}

    async def test_listed(self) -> None:
        node = await self.serve("--origin", "https://app.example")
        page = {"origin": "https://app.example"}
        told = {"origin": "https://app.example", "credentials": "true"}
        none = dict.fromkeys(("methods", "headers"))
        answer = await node.post(SAY, {"text": "x"}, **page)
        self.assertEqual((answer.status, self.cors(answer)), (201, told | none))
        answer = await node.get("/rooms/nowhere", **page)
        self.assertEqual((answer.status, self.cors(answer)), (404, told | none))
        self.assertEqual(answer.header("vary"), "Origin")
        stream = await node.events("/rooms/lobby/events", **page)
        self.assertEqual(self.cors(stream.head), told | none)
        preflight = await node.request(
            "OPTIONS",
            "/rooms/lobby/messages",
            access_control_request_method="POST",
            access_control_request_headers="content-type,idempotency-key",
            **page,
        )
        self.assertEqual(preflight.status, 204)
        self.assertIn("POST", str(self.cors(preflight)["methods"]))
        allowed = str(self.cors(preflight)["headers"]).lower().split(", ")
        self.assertLessEqual({"authorization", "content-type", "idempotency-key"}, set(allowed))
        # the host of a listed origin is accepted too
        self.assertEqual((await node.get("/rooms/lobby", host="app.example")).status, 200)

    async def test_any(self) -> None:
        node = await self.serve("--origin", "*")
        answer = await node.post(SAY, {"text": "x"}, origin="null")
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.cors(answer)["origin"], "*")
        self.assertIsNone(self.cors(answer)["credentials"])


class PageTests(ServingTests):
    async def test_the_page_may_connect_to_its_own_origin_only(self) -> None:
        node = await self.serve()
        policy = str((await node.get("/")).header("content-security-policy"))
        self.assertIn("connect-src 'self';", policy)

    async def test_the_page_and_its_client(self) -> None:
        node = await self.serve()
        for path, kind in (("/", "text/html"), ("/chatd.js", "text/javascript")):
            answer = await node.get(path)
            self.assertEqual(answer.status, 200)
            self.assertTrue(str(answer.header("content-type")).startswith(kind))
            again = await node.get(path, if_none_match=str(answer.header("etag")))
            self.assertEqual((again.status, again.body), (304, b""))
            self.assertIsNone(again.header("content-length"))

    async def test_the_page_offers_a_room_that_is_there(self) -> None:
        node = await self.serve("--room", "kitchen", "--room", "garden")
        page = (await node.get("/")).body.decode()
        self.assertIn('id="room"', page)
        self.assertIn('value="kitchen"', page)
        self.assertNotIn("lobby", page)

    async def test_everything_the_page_asks_for_is_served(self) -> None:
        node = await self.serve()
        page = (await node.get("/")).body.decode()
        asked = {f"/{name}" for name in re.findall(r'(?:src|href)="([^":]+)"', page)}
        done: set[str] = set()
        while waiting := asked - done:
            path = waiting.pop()
            answer = await node.get(path)
            self.assertEqual(answer.status, 200, path)
            done.add(path)
            for name in re.findall(r"from '(\.[^']+)'", answer.body.decode()):
                asked.add(posixpath.normpath(posixpath.join(path, "..", name)))
        self.assertTrue(any(path.endswith("/chatd.js") for path in done), done)

    async def test_probes(self) -> None:
        node = await self.serve()
        await node.post(SAY, {"text": "x"})
        for path in ("/healthz", "/readyz"):
            answer = await node.get(path)
            self.assertEqual(
                (answer.status, answer.header("cache-control")), (200, "no-store, no-transform")
            )
        metrics = await node.get("/metrics")
        self.assertIn("text/plain", str(metrics.header("content-type")))
        self.assertIn(b"\nchatd_messages_published_total 1.0\n", metrics.body)
