"""What a running node lets one client use: sizes, rates, connections, time and memory."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.threads import deferToThread

from chatd.transports.http.connection import IDLE, REQUEST
from chatd.transports.http.overflow import KEPT
from chatd.transports.setup.protocol import IDLE as SETUP_IDLE
from chatd.transports.setup.protocol import MAX_PER_ADDRESS, SetupProtocol
from chatd.transports.websocket.frames import PIECES
from tests.support.guarded import ADMIN_KEY, SETUP_SECRET, GuardedTests, bearing, token
from tests.support.http_client import HTTP, Answer
from tests.support.kernel import buffered, connections
from tests.support.raw import PATIENCE, Raw
from tests.support.serving import Node
from tests.support.tokens import Issuer
from tests.support.waiting import pause, until

reactor: Any = _reactor

KB = 1024

#: Bytes of answers that one connection may hold for a client that does not read.
UNREAD = 256 * KB
POST = b"POST /rooms/lobby/messages?username=ann HTTP/1.1\r\nHost: localhost\r\n"


class LimitsTests(GuardedTests):
    def refused(self, node: Node, code: str) -> float:
        """How many refusals with ``code`` the metrics count."""
        value = node.service.metrics.registry.get_sample_value
        return value("chatd_errors_total", {"code": code}) or 0.0

    async def said(self, node: Node) -> list[str]:
        """The texts in the lobby."""
        answer = await node.get("/rooms/lobby/messages?last=1000")
        return [m["text"] for m in answer.json["messages"]]

    async def spent(self, node: Node, ask: Callable[[int], Any], burst: int, rate: float) -> None:
        """``ask`` passes ``burst`` times, and then not more often than ``rate`` a second."""
        began = node.clock.seconds()
        statuses = [(await ask(n)).status for n in range(burst + 30)]
        took = node.clock.seconds() - began
        self.assertNotIn(429, statuses[:burst])
        passed = len(statuses) - statuses.count(429)
        self.assertLessEqual(passed, burst + rate * took + 1)

    async def lost(self, raw: Raw) -> None:
        await until(lambda: raw.lost)


async def sip(raw: Raw, size: int) -> None:
    """Read ``size`` bytes, a little more at most, and then nothing."""
    goal = len(raw.received) + size

    def taken(data: bytes) -> None:
        Raw.dataReceived(raw, data)
        if len(raw.received) >= goal:
            raw.transport.pauseProducing()

    vars(raw)["dataReceived"] = taken
    raw.transport.resumeProducing()
    await until(lambda: len(raw.received) >= goal)


class FrameTests(LimitsTests):
    async def test_a_frame_too_large_is_not_buffered(self) -> None:
        node = await self.serve("--max-frame", "64KB")
        ann = await node.chat("ann", "lobby")
        ann.raw.send(b"\x81\xff" + (1 << 40).to_bytes(8) + b"mask" + b"x" * (4096 * KB))
        how = await ann.closed()
        self.assertEqual(how.code, 1009)
        self.assertEqual(await self.said(node), [])

    async def test_what_follows_is_thrown_away(self) -> None:
        """A client that goes on sending what nobody wants, and answers no close frame."""
        node = await self.serve("--max-frame", "64KB")
        ann = await node.chat("ann", "lobby")
        (connection,) = node.service.ways.websockets.connections
        ann.raw.send(b"\x81\xff" + (1 << 40).to_bytes(8) + b"mask")
        await until(lambda: connection.failedByMe)
        ann.raw.send(b"x" * (2048 * KB))
        await until(lambda: connection.current_frame_masker.pointer() == 2048 * KB)
        self.assertLess(len(connection.data), 64 * KB)
        node.clock.advance(11)
        await self.lost(ann.raw)

    async def test_pieces_of_a_message_are_joined(self) -> None:
        """However many fragments there are, and if they are empty."""
        node = await self.serve("--rate=1000/s")
        ann = await node.chat("ann", "lobby")
        (connection,) = node.service.ways.websockets.connections
        text = b'{"type":"message","room":"lobby","id":"7","text":"' + b"x" * 2000
        ann.frame(text[:10], fin=False)
        for one in text[10:]:
            ann.raw.send(b"\x00\x81\x00\x00\x00\x00" + bytes([one]))
        ann.raw.send(b"\x00\x80mask" * 5000)
        await until(
            lambda: sum(map(len, getattr(connection, "message_data", None) or ())) == len(text)
        )
        ann.frame(b"", 9)  # a ping among the fragments is answered after all of them
        while (await ann.receive_frame())[0] != 10:
            pass  # presence
        self.assertLessEqual(len(connection.message_data), PIECES)
        ann.frame(b'"}', 0)
        self.assertEqual((await ann.find("ack"))["id"], "7")
        self.assertEqual(await self.said(node), ["x" * 2000])

    async def test_pieces_of_a_frame_are_joined(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        (connection,) = node.service.ways.websockets.connections
        text = b'{"type":"message","room":"lobby","id":"7","text":"' + b"x" * 2000 + b'"}'
        connection.dataReceived(b"\x81\xfe" + len(text).to_bytes(2) + bytes(4))
        for one in text[:-1]:
            connection.dataReceived(bytes([one]))
        self.assertLessEqual(len(connection.frame_data), PIECES)
        connection.dataReceived(text[-1:])
        self.assertEqual((await ann.find("ack"))["id"], "7")

    async def test_text_and_metrics(self) -> None:
        node = await self.serve("--max-text", "1KB")
        ann = await node.chat("ann", "lobby")
        over = {"type": "message", "room": "lobby", "text": "é" * 513, "id": "1"}
        heard = await ann.ask_for("error", over)
        self.assertEqual((heard["code"], heard["id"]), ("too_large", "1"))
        await ann.say("lobby", "é" * 512)
        answer = await node.post("/rooms/lobby/messages?username=ann", {"text": "x" * 1025})
        self.assertEqual((answer.status, answer.code), (413, "too_large"))
        self.assertEqual(self.refused(node, "too_large"), 2)
        self.assertIn(
            b'chatd_errors_total{code="too_large"} 2.0', (await node.get("/metrics")).body
        )

    async def test_rooms_per_socket(self) -> None:
        rooms = [f"room{n}" for n in range(101)]
        node = await self.serve(*(f"--room={room}" for room in rooms))
        ann = await node.chat("ann", *rooms[:100])
        heard = await ann.ask_for("error", {"type": "join", "room": rooms[100]})
        self.assertEqual(heard["code"], "bad_request")
        await ann.join(rooms[0])
        await ann.ask_for("left", {"type": "leave", "room": rooms[5]})
        await ann.join(rooms[100])


class BodyTests(LimitsTests):
    LIMIT = 16 * KB

    async def node(self) -> Node:
        return await self.serve("--max-frame", "16KB", "--max-text", "16KB")

    async def test_said_beforehand(self) -> None:
        """Refused by its Content-Length, before any of it has come."""
        node = await self.node()
        raw = await node.raw("http")
        raw.send(POST + b"Content-Length: %d\r\n\r\n" % (self.LIMIT + 1))
        answer = await HTTP(raw, "POST").answer()
        self.assertEqual((answer.status, answer.code), (413, "too_large"))
        self.assertEqual(answer.header("connection"), "close")
        self.assertEqual(self.refused(node, "too_large"), 1)

    async def test_no_more_than_the_limit_is_kept(self) -> None:
        node = await self.node()
        for head, piece in (
            (POST + b"Content-Length: 8000000\r\n\r\n", b"x" * 8_000_000),
            (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        ):
            raw = await node.raw("http")
            raw.send(head + piece * (8_000_000 // len(piece)))
            answer = await HTTP(raw, "POST").answer()
            self.assertEqual((answer.status, answer.code), (413, "too_large"))
        self.assertEqual(await self.said(node), [])

    async def test_up_to_the_limit(self) -> None:
        node = await self.node()
        text = "x" * (self.LIMIT - 11)
        answer = await node.post("/rooms/lobby/messages?username=ann", {"text": text[2:]})
        self.assertEqual(answer.status, 201)
        raw = await node.raw("http")
        raw.send(
            POST + b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
        )
        self.assertEqual((await HTTP(raw, "POST").head()).status, 201)
        self.assertEqual(await self.said(node), [text[2:], "abcdef"])

    async def test_the_whole_body_in_one_piece_is_not_acted_upon(self) -> None:
        """The text in the URL would do for a form; the body is refused, and so is the request."""
        node = await self.node()
        body = b"a=b&" * 5000
        head = POST.replace(b"?", b"?text=x&") + b"Content-Type: application/x-www-form-urlencoded"
        for sent in (
            b"Content-Length: 20000\r\n\r\n" + body,
            b"Transfer-Encoding: chunked\r\n\r\n4e20\r\n" + body + b"\r\n0\r\n\r\n",
        ):
            raw = await node.raw("http")
            raw.send(head + b"\r\n" + sent)
            self.assertEqual((await HTTP(raw, "POST").answer()).status, 413)
        self.assertEqual(await self.said(node), [])

    async def test_who_sends_all_before_it_reads_anything(self) -> None:
        """As most clients do; a connection that was closed meanwhile would be reset."""
        node = await self.node()
        post = POST + b"Content-Length: 9000000\r\n\r\n"
        for port, head, answer in (
            ("http", post, b"HTTP/1.1 413 "),
            ("http", POST + b"Transfer-Encoding: chunked\r\n\r\n5000\r\n", b"HTTP/1.1 413 "),
            ("http", b"nonsense\r\n", b"HTTP/1.1 400 "),
            ("setup", b'{"roomname":"', b"400 bad_request: "),
        ):
            got = await deferToThread(_send_all, node.port(port), head + b"x" * 9_000_000)
            self.assertEqual(got[: len(answer)], answer)

    async def test_who_asks_first_is_told_first(self) -> None:
        node = await self.node()
        raw = await node.raw("http")
        raw.send(POST + b"Expect: 100-continue\r\nContent-Length: 99999\r\n\r\n")
        self.assertEqual((await HTTP(raw, "POST").answer()).status, 413)
        raw = await node.raw("http")
        head = POST + b"Content-Type: text/plain\r\nExpect: 100-continue\r\n"
        raw.send(head + b"Content-Length: 3\r\n\r\n")
        self.assertEqual(await raw.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue")
        raw.send(b"abc")
        self.assertEqual((await HTTP(raw, "POST").head()).status, 201)

    async def test_what_cannot_be_a_request(self) -> None:
        """One JSON error each, and no traceback: the suite fails on what is logged as a failure."""
        node = await self.node()
        part = b"--b\r\nContent-Disposition: form-data; name%s\r\n\r\nx\r\n--b--\r\n"
        form = POST + b"Content-Type: multipart/form-data; boundary=b\r\n"
        nested = (
            b'--b\r\nContent-Disposition: form-data; name="text"\r\n'
            b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n"
        )
        for sent, status in (
            (b"\r\n\r\n\r\n", 400),
            (b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n", 400),
            (b"GET /\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\na\x00b: c\r\n\r\n", 400),
            (POST + b"Content-Length: -1\r\n\r\n", 400),
            (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
            (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (POST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
            (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
            (POST + b"Content-Length: 1\r\nContent-Type: multipart/form-data\r\n\r\nx", 400),
            (_sized(form, part % b"*=utf-8''text"), 400),
            (_sized(form, nested), 400),
            (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\nCookie: " + b"x" * 17000 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\n" + b"Accept: x\r\n" * 101 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\n" + b"Cookie: %s\r\n" % (b"x" * 900) * 20 + b"\r\n", 431),
        ):
            raw = await node.raw("http")
            raw.send(sent)
            answer = await HTTP(raw, "GET").answer()
            self.assertEqual((answer.status, answer.code), (status, "bad_request"), sent[:80])
        self.assertEqual(self.refused(node, "bad_request"), 18)
        self.assertEqual(await self.said(node), [])


def _send_all(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as raw:
        raw.sendall(data)
        return raw.recv(65536)


def _sized(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


class RateTests(LimitsTests):
    async def test_per_connection(self) -> None:
        node = await self.serve("--rate", "2/s")
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
            node.clock.advance(1)

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
        for user in ("ann", "ben"):
            froms = iter(["203.0.113.1", "203.0.113.2", "2001:db8::1"])
            shown = bearing(token(node, user))

            def publish(froms: Any = froms, shown: Any = shown) -> Any:
                path = "/rooms/hall/messages"
                return node.post(path, {"text": "x"}, X_Forwarded_For=next(froms), **shown)

            await self.spend(publish, 2)

    async def test_over_http_per_user_and_address_in_open_mode(self) -> None:
        node = await self.serve("--rate", "1/s", "--trusted-proxy", "127.0.0.1")
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
        raw = await node.raw("setup")
        for room in ("c", "d"):
            asked = {"roomname": room, "secret": SETUP_SECRET}
            raw.send(json.dumps(asked).encode() + b"\n")
            self.assertRegex(await raw.until(b"\n"), b"^503 unavailable: .*--max-rooms")
        await node.request("DELETE", "/rooms/b", None, **bearing(ADMIN_KEY))
        answer = await node.request("PUT", "/rooms/c", {}, **bearing(ADMIN_KEY))
        self.assertEqual(answer.status, 201)


class GuessTests(LimitsTests):
    """Keys and secrets that are tried, one after the other."""

    async def test_the_admin_key(self) -> None:
        node = await self.serve(*self.locks(), "--trusted-proxy", "127.0.0.1")

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


class MetricsTests(LimitsTests):
    """Who may read what a node counts."""

    async def test_on_the_http_port(self) -> None:
        node = await self.serve(*self.locks())
        self.assertEqual((await node.get("/metrics")).status, 200)
        for header in ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"):
            for key, status in ((None, 403), ("guess", 403), (ADMIN_KEY, 200)):
                shown = bearing(key) if key else {}
                answer = await node.get("/metrics", **{header: "203.0.113.1"}, **shown)
                self.assertEqual(answer.status, status, (header, key))
        answer = await node.get("/metrics", Via="1.1 proxy")
        self.assertIn("--metrics", answer.json["text"])
        self.assertEqual((await node.get("/healthz", Via="1.1 proxy")).status, 200)

    async def test_on_a_port_of_their_own(self) -> None:
        node = await self.serve("--metrics", "tcp:0:interface=127.0.0.1")
        for path, status in (("/metrics", 200), ("/", 404), ("/rooms/lobby", 404), ("/ws", 404)):
            http = HTTP(await node.raw("metrics"), "GET")
            http.raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nVia: x\r\n\r\n".encode())
            self.assertEqual((await http.answer()).status, status, path)
        http = HTTP(await node.raw("metrics"), "GET")
        http.raw.send(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        self.assertEqual((await http.answer()).status, 403)


class ConnectionTests(LimitsTests):
    async def full(self, node: Node) -> None:
        """Nobody else gets in, on any transport; probes do."""
        for path, port in (("/", "websocket"), ("/ws", "http")):
            refused = await node.websocket(path, port)
            self.assertEqual((refused.status, refused.answer.code), (503, "unavailable"))
            self.assertGreater(int(refused.answer.header("retry-after") or 0), 0)
        for path in (
            "/rooms/lobby/events",
            "/rooms/lobby/messages?wait=5",
            "/poll?roomname=lobby&wait=5",
        ):
            answer = await node.get(path)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), path)
            self.assertGreater(int(answer.header("retry-after") or 0), 0)
        self.assertEqual(self.refused(node, "unavailable"), 5)
        for path in ("/healthz", "/readyz", "/metrics", "/rooms/lobby/messages"):
            self.assertEqual((await node.get(path)).status, 200, path)

    async def test_in_all(self) -> None:
        node = await self.serve("--max-connections", "3")
        socket = await node.websocket("/")
        stream = await node.events("/rooms/lobby/events")
        start = (await node.get("/rooms/lobby")).json["cursor"]
        path = f"/rooms/lobby/messages?after={start}&wait=60"
        poll = await node.ask("GET", path)
        counted = node.service.admission.connections
        await until(lambda: counted.total == 3)
        await self.full(node)
        for end in (socket.raw.abort, stream.close, poll.raw.abort):
            before = counted.total
            end()
            await until(lambda: counted.total == before - 1)
        again = await node.websocket("/")
        self.assertEqual(again.status, 101)

    async def silent(self, node: Node, port: str) -> list[Raw]:
        """As many connections that ask for nothing as there may be."""
        raws = [await node.raw(port) for _ in range(30)]
        await until(lambda: node.service.admission.sockets.total == 30)
        return raws

    async def test_connections_that_ask_for_nothing(self) -> None:
        """Twice as many as may hold something open, and a few; the next is cut at once."""
        node = await self.serve("--max-connections-per-address", "5")
        raws = await self.silent(node, "websocket")
        for raw in [await node.raw("websocket") for _ in range(3)]:
            self.assertEqual(await raw.rest(), b"")
        raws.pop().abort()
        await until(lambda: node.service.admission.sockets.total == 29)
        self.assertEqual((await node.websocket("/")).status, 101)

    async def test_probes_are_answered_whatever_the_limits(self) -> None:
        """And everything else is told that it must wait."""
        node = await self.serve("--max-connections-per-address", "5")
        raws = await self.silent(node, "http")
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200)):
            answer = await node.get(path, connection="keep-alive")
            self.assertEqual((answer.status, answer.header("connection")), (status, "close"))
        for path in ("/", "/rooms/lobby", "/rooms/lobby/events", "/ws"):
            answer = await node.get(path)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), path)
            self.assertGreaterEqual(int(answer.header("retry-after") or 0), 1)
        self.assertEqual((await node.websocket("/ws", "http")).status, 503)
        stream = await node.get("/rooms/lobby/events", accept="text/event-stream")
        self.assertIn(b"event: refused", stream.body)
        self.assertEqual(node.service.admission.sockets.total, 30)
        raws.pop().abort()
        await until(lambda: node.service.admission.sockets.total == 29)
        self.assertEqual((await node.get("/rooms/lobby")).status, 200)

    async def test_what_is_beyond_the_limits_is_bounded_too(self) -> None:
        node = await self.serve("--max-connections-per-address", "5")
        await self.silent(node, "http")
        late = [await node.raw("http") for _ in range(KEPT + 10)]
        for raw in late[:10]:
            self.assertEqual(await raw.rest(), b"")
        await pause(0.05)
        self.assertFalse(any(raw.lost for raw in late[10:]))
        self.assertEqual((await node.get("/healthz")).status, 200)
        node.clock.advance(REQUEST + 1)
        for raw in late[10:]:
            self.assertEqual(await raw.rest(), b"")

    async def test_an_upgraded_connection_is_one(self) -> None:
        node = await self.serve("--max-connections-per-address", "5")
        for port in ("http", "websocket"):
            socket = await node.websocket("/ws", port)
            self.assertEqual((socket.status, node.service.admission.sockets.total), (101, 1))
            socket.raw.abort()
            await until(lambda: node.service.admission.sockets.total == 0)

    async def test_a_trusted_proxy_opens_as_many_as_it_likes(self) -> None:
        node = await self.serve(
            "--max-connections-per-address", "1", "--trusted-proxy", "127.0.0.1"
        )
        raws = [await node.raw("http") for _ in range(40)]
        await until(lambda: node.service.admission.sockets.total == 40)
        self.assertFalse(any(raw.lost for raw in raws))

    async def test_per_address(self) -> None:
        node = await self.serve("--max-connections-per-address", "1")
        await node.websocket("/")
        await self.full(node)

    async def test_a_stranger_does_not_shut_out_others(self) -> None:
        node = await self.serve(
            "--max-connections-per-address", "1", "--trusted-proxy", "127.0.0.1"
        )
        froms = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
        sockets = [await node.websocket("/", X_Forwarded_For=one) for one in froms]
        self.assertEqual([s.status for s in sockets], [101, 503, 101])


class TimeTests(LimitsTests):
    async def test_a_request_that_never_ends(self) -> None:
        """However steadily its bytes come."""
        node = await self.serve()
        for head in (b"GET /healthz HTTP/1.1\r\n", POST + b"Content-Length: 1000\r\n\r\n"):
            raw = await node.raw("http")
            raw.send(head)
            for _ in range(5):
                raw.send(b"x: y\r\n")
                await pause(0.002)
                node.clock.advance(REQUEST / 6)
                self.assertFalse(raw.lost)
            await pause(0.002)
            node.clock.advance(REQUEST / 6 + 1)
            answer = await HTTP(raw, "GET").answer()
            self.assertEqual((answer.status, answer.code), (408, "bad_request"))

    async def test_a_second_request_that_never_ends(self) -> None:
        node = await self.serve()
        raw = await node.raw("http")
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await raw.until(b"}\n")
        raw.send(b"GET /healthz HTTP/1.1\r\n")
        await pause(0.01)
        node.clock.advance(REQUEST + 1)
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 408)

    async def test_who_says_nothing(self) -> None:
        node = await self.serve()
        raw = await node.raw("http")
        await pause(0.01)
        node.clock.advance(REQUEST + 1)
        self.assertEqual(await raw.rest(), b"")

    async def test_who_has_asked_before(self) -> None:
        node = await self.serve()
        raw = await node.raw("http")
        for _ in range(3):
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await raw.until(b"}\n")
            node.clock.advance(IDLE - 2)
            await pause(0.002)
        node.clock.advance(4)
        self.assertEqual(await raw.rest(), b"")

    async def test_a_waiting_poll_is_not_idle(self) -> None:
        node = await self.serve()
        start = (await node.get("/rooms/lobby")).json["cursor"]
        http = await node.ask("GET", f"/rooms/lobby/messages?after={start}&wait=60")
        await until(lambda: node.service.admission.connections.total == 1)
        node.clock.advance(59)
        await node.post("/rooms/lobby/messages?username=ann", {"text": "at last"})
        self.assertEqual((await http.answer()).json["messages"][0]["text"], "at last")

    async def test_a_refusal_that_is_not_taken_note_of(self) -> None:
        node = await self.serve()
        raw = await node.raw("http")
        raw.transport.pauseProducing()
        raw.send(b"nonsense\r\n\r\n")
        await until(lambda: self.refused(node, "bad_request") == 1)
        node.clock.advance(6)
        await until(lambda: not connections())

    async def test_handshakes_and_set_up(self) -> None:
        node = await self.serve()
        half = await node.raw("websocket")
        half.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        silent, quiet = await node.raw("setup"), await node.raw("setup")
        quiet.send(b'{"roomname":')
        await pause(0.01)
        node.clock.advance(12)
        await self.lost(half)
        node.clock.advance(SETUP_IDLE - 13)
        await pause(0.002)
        self.assertFalse(quiet.lost or silent.lost)
        node.clock.advance(3)
        self.assertEqual(await quiet.rest() + await silent.rest(), b"")

    async def test_a_set_up_request_that_never_ends(self) -> None:
        """However steadily its bytes come; a request every now and then keeps a connection open."""
        node = await self.serve()
        slow, steady = await node.raw("setup"), await node.raw("setup")
        slow.send(b'{"roomname":"lo')
        for _ in range(5):
            slow.send(b"o")
            steady.send(b'{"roomname":"lobby"}\n')
            self.assertEqual(await steady.until(b"\n"), b"200")
            node.clock.advance(SETUP_IDLE / 6)
            self.assertFalse(slow.lost)
        node.clock.advance(SETUP_IDLE / 6 + 1)
        await self.lost(slow)
        steady.send(b'{"roomname":"lobby"}\n')
        self.assertEqual(await steady.until(b"\n"), b"200")

    async def test_no_timer_for_each_connection(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        await node.get("/healthz")

        async def clients(number: int) -> None:
            for n in range(number):
                await node.chat(f"user{n}", "lobby")
                await node.events("/rooms/lobby/events")
                (await node.raw("http")).send(b"GET / HTTP/1.1\r\n")
                (await node.raw("setup")).send(b"{")

        def timers() -> int:
            return len([one for one in reactor.getDelayedCalls() if one.active()])

        await clients(2)
        await ann.say("lobby", "x")
        before = timers()
        await clients(20)
        await ann.say("lobby", "x")
        self.assertLess(timers(), before + 10)


class DeafTests(LimitsTests):
    """Clients that ask without reading what is answered."""

    async def test_websocket(self) -> None:
        node = await self.serve("--rate", "1000000/s")
        ann = await node.chat("ann")
        (connection,) = node.service.ways.websockets.connections
        ann.raw.transport.pauseProducing()
        await self.keep_little(node, ann.raw)
        request = json.dumps({"type": "message", "room": "x" * 100, "text": "x"}).encode()
        number = 2000
        ann.raw.send((b"\x81\xfe" + len(request).to_bytes(2) + bytes(4) + request) * number)
        # not only because it stands in line
        await until(lambda: connection.outlet.stops > connection._in_line)
        self.assertLess(buffered(), UNREAD)
        ann.raw.transport.resumeProducing()
        for _ in range(number):
            self.assertEqual((await ann.receive())["code"], "unknown_room")
        self.assertEqual(buffered(), 0)

    async def test_pipelined_requests(self) -> None:
        node = await self.serve("--rate", "10000/s")
        ann = await node.chat("ann", "lobby")
        for n in range(40):
            await ann.say("lobby", str(n) * 4000)
        ann.raw.abort()
        raw = await node.raw("http")
        raw.transport.pauseProducing()
        number = 60
        request = b"GET /rooms/lobby/messages?last=100 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        raw.send(request * number)
        answered = node.service.metrics.registry.get_sample_value
        await until(lambda: answered("chatd_http_requests_total", {"status": "200"}))
        for _ in range(50):
            await pause(0.001)
        size = len((await node.get("/rooms/lobby/messages?last=100")).body)
        self.assertLess(buffered(), UNREAD)
        raw.transport.resumeProducing()
        for _ in range(number):
            self.assertEqual(len((await HTTP(raw, "GET").answer()).body), size)

    async def test_pipelined_requests_with_small_answers(self) -> None:
        node = await self.serve("--rate", "10000/s")
        raw = await node.raw("http")
        raw.transport.pauseProducing()
        await self.keep_little(node, raw)
        number = 1200
        raw.send(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" * number)
        deaf: Iterable[Any] = node.service.admission.unread._held
        await until(lambda: any(transport.protocol.paused for transport in deaf))
        self.assertLess(buffered(), UNREAD)
        raw.transport.resumeProducing()
        for _ in range(number):
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 404)

    async def keep_little(self, node: Node, raw: Raw) -> None:
        """Have the kernel keep 64 KB on either side: it would take the whole of an answer."""
        await until(node.connections)
        for end in (*node.connections(), raw.transport):
            end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * KB)
            end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * KB)

    async def test_an_answer_left_unread(self) -> None:
        """It is not kept for ever; one that is read slowly is."""
        node = await self.serve("--rate", "10000/s")
        ann = await node.chat("ann", "lobby")
        for n in range(90):
            await ann.say("lobby", str(n % 10) * 16000)
        ann.raw.abort()

        def given_up() -> bool:
            node.clock.advance(IDLE + 1)
            return buffered() == 0

        for more in ("", "Connection: close\r\n"):
            raw = await node.raw("http")
            raw.transport.pauseProducing()
            await self.keep_little(node, raw)
            path = "/rooms/lobby/messages?last=1000"
            raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
            await until(lambda: buffered() > 50 * KB)
            for _ in range(3):
                await sip(raw, 256 * KB)
                self.assertLess(buffered(), UNREAD)
                node.clock.advance(IDLE + 1)
                await pause(0.01)
            await until(lambda: buffered() > 0)
            await until(given_up)

    async def test_set_up(self) -> None:
        node = await self.serve("--rate", "10000/s")
        raw = await node.raw("setup")
        raw.transport.pauseProducing()
        await self.keep_little(node, raw)
        request = b'{"op":"add_member","roomname":"nowhere","username":"ann"}\n'
        number = 7000
        raw.send(request * number)
        await until(lambda: self.refused(node, "unknown_room"))
        await until(lambda: buffered() > 30 * KB)
        (end,) = connections()
        served = cast(SetupProtocol, end.protocol)
        await until(lambda: not served._writable)
        self.assertLess(buffered(), 200 * KB)
        self.assertLess(len(served._splitter), 130 * KB)
        raw.transport.resumeProducing()
        raw.end()
        self.assertEqual((await raw.rest()).count(b"404 unknown_room: "), number)


class SetupLimitTests(LimitsTests):
    async def test_too_long(self) -> None:
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(b'{"roomname":"' + b"x" * (65 * KB))
        self.assertRegex((await raw.rest()).decode(), "^400 bad_request: .*65536")
        self.assertEqual(self.refused(node, "bad_request"), 1)

    async def test_too_long_and_on(self) -> None:
        """The answer reaches even a client that is still sending."""
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(b'{"roomname":"' + b"x" * (3000 * KB))
        self.assertRegex((await raw.rest()).decode(), "^400 bad_request: ")
        await until(lambda: not connections())

    async def test_too_many(self) -> None:
        node = await self.serve()
        held = [await node.raw("setup") for _ in range(MAX_PER_ADDRESS)]
        over = await node.raw("setup")
        self.assertRegex((await over.rest()).decode(), "^503 unavailable: ")
        held[0].abort()
        await until(lambda: node_setup(node).connections.total == MAX_PER_ADDRESS - 1)
        again = await node.raw("setup")
        again.send(b'{"roomname":"made"}\n')
        self.assertEqual(await again.until(b"\n"), b"200")

    async def test_thousands_at_once(self) -> None:
        """Answered one after the other, however deep a stack that would take."""
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(b'{"roomname":"lobby"}{}' * 2500)
        raw.end()
        said = await raw.rest()
        self.assertEqual((said.count(b"200"), said.count(b"400 bad_request")), (2500, 2500))

    async def test_a_client_beyond_help(self) -> None:
        """Ten refusals in a row, and the connection is closed; nothing more is looked at."""
        node = await self.serve()
        for wrong in (b"{}", b"{}\n"):
            raw = await node.raw("setup")
            raw.send(wrong * 9 + b'{"roomname":"lobby"}' + wrong * 30_000)
            said = await raw.rest()
            self.assertEqual((said.count(b"200"), said.count(b"400 bad_request: ")), (1, 19))
        self.assertEqual(node.service.ways.setup.in_hand, 0)


def node_setup(node: Node) -> Any:
    """The factory of the set-up port."""
    (port,) = (part for part in node.service if str(part.name).startswith("setup"))
    return port.factory
