"""What is judged of an HTTP request by its head alone, and what a body may be (RFC 9110, 9112)."""

from __future__ import annotations

import json
from functools import partial
from typing import Any
from urllib.parse import quote

from chatd.transports.http.phase import Phase
from tests.support.guarded import GuardedTests, bearing, token
from tests.support.http_client import HTTP, Answer
from tests.support.serving import Node, ServingTests
from tests.support.waiting import until, until_of

FORM = "application/x-www-form-urlencoded"
SAY = "/rooms/lobby/messages?username=ann"
PAGE = "https://app.example"


async def meet(node: Node, sent: bytes, method: str = "POST") -> Answer:
    """What is answered to ``sent``."""
    raw = await node.raw("http")
    raw.send(sent)
    return await HTTP(raw, method).answer()


async def said(node: Node) -> list[str]:
    """The texts in the lobby."""
    answer = await node.get("/rooms/lobby/messages?last=1000")
    return [m["text"] for m in answer.json["messages"]]


def begun(node: Node) -> bool:
    """Whether something of a request has come on each connection."""
    ends: Any = [end.protocol for end in node.connections()]
    states = [end._state for end in ends]
    return bool(states) and Phase.RESTING not in states


def head(target: str, *lines: str, method: str = "POST") -> bytes:
    """The head of a request."""
    first = f"{method} {target} HTTP/1.1"
    return "\r\n".join([first, *lines, "", ""]).encode()


class HeadTests(GuardedTests):
    async def test_refused_before_the_body_comes(self) -> None:
        """Whatever is wrong with the head, the body is neither waited for nor asked for."""
        node = await self.guarded("--rate", "1/m")
        ann = bearing(token(node))["Authorization"]
        good = ["Host: localhost", f"Authorization: {ann}"]
        others = iter("abcdefghij")

        def other() -> list[str]:
            shown = bearing(token(node, next(others)))["Authorization"]
            return ["Host: localhost", f"Authorization: {shown}"]

        say = "/rooms/hall/messages"
        await node.post(say, {"text": "x"}, **bearing(token(node)))
        for target, lines, method, status in (
            (say, ["Host: localhost"], "POST", 401),
            (say, [*good, "Origin: https://evil.example"], "POST", 403),
            (say, ["Host: evil.example"], "POST", 403),
            ("/nowhere", good, "POST", 404),
            ("/rooms/hall", good, "POST", 405),
            ("/rooms/nowhere/messages", other(), "POST", 404),
            ("/rooms/den/messages", other(), "POST", 403),
            (say, good, "POST", 429),
            ("/poll", good, "POST", 429),
            ("/poll", ["Host: localhost"], "POST", 401),
            (say, [*good, "Content-Encoding: gzip"], "POST", 415),
            (say, [*good, "Content-Type: image/png"], "POST", 415),
            (say, [*good, "Content-Type: text/plain; charset=utf-16"], "POST", 415),
            ("/rooms/new", good, "PUT", 403),
        ):
            expecting = [] if status in (404, 403) else ["Expect: 100-continue"]
            for more in ("", *expecting):
                raw = await node.raw("http")
                sent = [*lines, "Content-Length: 1000", *filter(None, [more])]
                raw.send(head(target, *sent, method=method))
                answer = await HTTP(raw, method).answer()
                self.assertEqual(answer.status, status, (target, lines, answer.body))
                self.assertTrue(answer.code)

    async def test_the_connection_goes_on(self) -> None:
        """A short body that nobody wants is thrown away, also if it comes later or in pieces."""
        node = await self.serve()
        raw = await node.raw("http")
        for pieces in (
            [head("/nowhere", "Host: localhost", "Content-Length: 4") + b"GET "],
            [head("/nowhere", "Host: localhost", "Content-Length: 4"), b"GE", b"T "],
            [head("/healthz", "Host: localhost", "Content-Length: 4", method="GET"), b"GET "],
        ):
            for n, piece in enumerate(pieces):
                raw.send(piece)
                if n == 0:
                    answer = await HTTP(raw, "POST").answer()
                    self.assertIsNone(answer.header("connection"))
        raw.send(head("/healthz", "Host: localhost", method="GET"))
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)

    async def test_requests_in_one_piece(self) -> None:
        """One that is answered at once, and behind it one that is answered from its head."""
        node = await self.serve()
        raw = await node.raw("http")
        get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        post = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        raw.send((get + post) * 3)
        statuses = [(await HTTP(raw, "GET").answer()).status for _ in range(6)]
        self.assertEqual(statuses, [200, 404] * 3)

    async def test_a_body_that_never_comes(self) -> None:
        """Who was answered and does not send the rest is cut, without a second answer."""
        node = await self.serve()
        raw = await node.raw("http")
        raw.send(head("/nowhere", "Host: localhost", "Content-Length: 4"))
        await HTTP(raw, "POST").answer()
        node.clock.advance(31)
        node.clock.advance(6)
        self.assertEqual(await raw.rest(), b"")

    async def test_host(self) -> None:
        """RFC 9112, section 3.2; on both ports."""
        node = await self.serve("--host", "*")
        shake = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        for hosts, status in (
            ([], 400),
            (["Host: a", "Host: a"], 400),
            (["Host: a", "Host: b"], 400),
            (["Host: a b"], 400),
            (["Host: a/b"], 400),
            (["Host: a@b"], 400),
            (["Host: localhost"], 200),
            (["host:localhost:80"], 200),
            (["Host: [::1]:80"], 200),
        ):
            answer = await meet(node, head("/healthz", *hosts, method="GET"), "GET")
            self.assertEqual(answer.status, status, hosts)
            if len(hosts) == 1:
                continue
            for port in ("http", "websocket"):
                raw = await node.raw(port)
                raw.send(head("/ws", *hosts, *shake, method="GET"))
                answer = await HTTP(raw, "GET").answer()
                self.assertEqual((answer.status, answer.code), (400, "bad_request"), hosts)
        raw = await node.raw("http")
        raw.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)

    async def test_one_end_to_a_request(self) -> None:
        """Whoever sees another end than a proxy does lets one client's request into another's
        connection (RFC 9112, section 11.2). What comes after such a head is not looked at."""
        node = await self.serve()
        hidden = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for framing in (
            b"Content-Length: 0\r\nContent-Length: 5",
            b"Content-Length: 0, 5",
            b"Content-Length: +0",
            b"Content-Length: 0x0",
            b"Content-Length : 0",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: identity, chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding:",
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\ntransfer-encoding: Identity",
            b"Content-Length: 5\r\nTransfer-Encoding: identity",
            b"Transfer-Encoding: identity\r\nContent-Length: 0",
        ):
            raw = await node.raw("http")
            raw.send(b"POST /poll HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n")
            raw.send(b"0\r\n\r\n" + hidden)
            raw.end()
            said = await raw.rest()
            self.assertRegex(said, b"^HTTP/1.1 (400|501) ", framing)
            self.assertEqual(said.count(b"HTTP/1.1 "), 1, framing)
            self.assertNotIn(b"alive", said, framing)

    async def test_one_end_to_a_body_in_chunks(self) -> None:
        """What another reader may take for its end is no trailer field (RFC 9112, section 7.1.2);
        what is one is dropped."""
        node = await self.serve()
        chunked = head(
            SAY, "Host: localhost", "Transfer-Encoding: chunked", "Content-Type: text/plain"
        )
        hidden = head("/healthz", "Host: localhost", method="GET")
        for trailers in (b"", b"X: y\n\n", b"X: y\n", b" X: y\r\n", b"x:\r\n" * 200):
            raw = await node.raw("http")
            raw.send(chunked + b"2\r\nhi\r\n0\r\n" + trailers + hidden)
            answer = await HTTP(raw, "POST").answer()
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), trailers)
            raw.end()
            self.assertEqual(await raw.rest(), b"", trailers)
        self.assertEqual(await said(node), [])
        raw = await node.raw("http")
        raw.send(chunked + b"2\r\nhi\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n" + hidden)
        statuses = [(await HTTP(raw, method).answer()).status for method in ("POST", "GET")]
        self.assertEqual(statuses, [201, 200])

    async def test_chunks_in_http_1_0(self) -> None:
        """There are none: a proxy of that version sees another end (RFC 9112, section 6.1)."""
        node = await self.serve()
        raw = await node.raw("http")
        raw.send(b"POST /poll HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual((await HTTP(raw, "POST").answer()).status, 400)
        raw.end()
        self.assertEqual(await raw.rest(), b"")

    async def test_absolute_form(self) -> None:
        """RFC 9112, section 3.2.2: the target's host is the one that counts."""
        node = await self.serve()
        for target, host, status in (
            ("http://localhost/healthz", "localhost", 200),
            ("HTTP://localhost:8081/rooms/lobby?x=http://y/", "elsewhere.example", 200),
            ("http://127.0.0.1", "localhost", 200),
            ("http://localhost?x", "localhost", 200),
            ("http://evil.example/healthz", "localhost", 403),
            ("http:///healthz", "localhost", 400),
            ("http://a@localhost/healthz", "localhost", 400),
        ):
            answer = await meet(node, head(target, f"Host: {host}", method="GET"), "GET")
            self.assertEqual(answer.status, status, target)
        answer = await meet(node, head("http://localhost/healthz", method="GET"), "GET")
        self.assertEqual(answer.status, 400)
        for port in ("http", "websocket"):
            own = f"http://127.0.0.1:{node.port(port)}"
            socket = await node.websocket(f"{own}/ws?username=ann", port)
            self.assertEqual((await socket.receive())["user"], "ann")

    async def test_a_target_of_another_form(self) -> None:
        """RFC 9112, section 3.2: a path begins with a slash. Else a proxy's rules for paths, which
        look at their beginnings, would not see the one that is served."""
        node = await self.serve()
        for method, target in (
            *(("GET", "xhealthz"), ("GET", "*healthz"), ("GET", "*"), ("GET", "?x"), ("HEAD", "*")),
            *(("POST", "xpoll"), ("OPTIONS", "*x"), ("OPTIONS", "healthz")),
            *(
                ("GET", "localhost/healthz"),
                ("CONNECT", "localhost:80"),
                ("GET", "ftp://a/healthz"),
            ),
        ):
            raw = await node.raw("http")
            raw.send(head(target, "Host: localhost", method=method))
            answer = await HTTP(raw, "GET").answer()
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), (method, target))
            raw.end()
            self.assertEqual(await raw.rest(), b"")
        lines = "Host: localhost", "Connection: close"
        self.assertEqual((await meet(node, head("*", *lines, method="OPTIONS"))).status, 204)
        for port in ("http", "websocket"):
            for target in ("xws?username=ann", "*ws?username=ann", "*"):
                self.assertEqual((await node.websocket(target, port)).status, 400, (port, target))

    async def test_a_client_that_waits_for_the_end(self) -> None:
        """Wherever ``close`` stands among the options of Connection (RFC 9112, section 9.6)."""
        node = await self.serve()
        for lines, closes in (
            (["Connection: close"], True),
            (["Connection: close, TE", "TE: trailers"], True),
            (["Connection: TE,\tClose", "TE: trailers"], True),
            (["Connection: keep-alive", "Connection: close"], True),
            (["Connection: keep-alive"], False),
            (["Connection: close-not"], False),
        ):
            raw = await node.raw("http")
            raw.send(head("/healthz", "Host: localhost", *lines, method="GET"))
            http = HTTP(raw, "GET")
            answer = await http.answer()
            said = answer.header("connection")
            self.assertEqual((answer.status, said), (200, "close" if closes else None), lines)
            if closes:
                self.assertEqual(await raw.rest(), b"")

    async def test_no_version_is_named(self) -> None:
        node = await self.serve()
        for path in ("/healthz", "/nowhere", "/"):
            self.assertEqual((await node.get(path)).header("server"), "chatd")
        for port in ("http", "websocket"):
            socket = await node.websocket("/ws", port)
            self.assertNotRegex(socket.answer.header("server") or "", r"[0-9]")


class CorsTests(ServingTests):
    async def test_errors_below_the_router(self) -> None:
        """A page of a listed origin can read why it is refused, wherever its Origin stands."""
        node = await self.serve("--origin", PAGE)
        long = "X: " + "x" * 17000
        origin = f"Origin: {PAGE}"
        host = "Host: app.example"
        chunked = "Transfer-Encoding: chunked"
        for lines, body, status in (
            ([host, origin, long], b"", 431),
            ([host, long, origin], b"", 431),
            ([host, *["X: x"] * 101, origin], b"", 431),
            ([host, *["X: x" + "x" * 900] * 20, origin], b"", 431),
            ([host, origin, "no colon"], b"", 400),
            ([host, "no colon", origin], b"", 400),
            ([host, "Content-Length: x", origin], b"", 400),
            ([host, host, origin], b"", 400),
            ([origin], b"", 400),
            ([host, origin, chunked], b"xyz\r\n", 400),
            ([host, origin, "Content-Length: 200000"], b"", 413),
            ([host, origin, chunked], b"30000\r\n" + b"x" * 0x30000 + b"\r\n", 413),
        ):
            for cut in (False, True):
                raw = await node.raw("http")
                sent = head(SAY, *lines) + body
                raw.send(sent[:100] if cut else sent)
                if cut:
                    await until(lambda: len(node.connections()) > 0)
                    raw.send(sent[100:])
                answer = await HTTP(raw, "POST").answer()
                self.assertEqual(answer.status, status, (lines, answer.body))
                self.assertEqual(answer.header("access-control-allow-origin"), PAGE, lines)
                self.assertEqual(answer.header("vary"), "Origin")
        answer = await meet(node, head("/" + "x" * 20000, host, origin))
        self.assertEqual((answer.status, answer.header("vary")), (431, "Origin"))
        self.assertEqual(answer.header("access-control-allow-origin"), PAGE)

    async def test_too_late(self) -> None:
        node = await self.serve("--origin", PAGE)
        for lines in (
            ["Host: app.example", f"Origin: {PAGE}", "Content-Length: 9"],
            ["Host: app.example", "X: " + "x" * 17000, f"Origin: {PAGE}"],
        ):
            raw = await node.raw("http")
            sent = head(SAY, *lines)
            raw.send(sent if "Content-Length: 9" in lines else sent[:-2])
            await until(lambda: begun(node))
            node.clock.advance(31)
            answer = await HTTP(raw, "POST").answer()
            self.assertEqual(answer.status, 408)

    async def test_another_origin_is_not_named(self) -> None:
        node = await self.serve("--origin", PAGE)
        sent = head(SAY, "Host: app.example", "Origin: https://evil.example", "no colon")
        answer = await meet(node, sent)
        self.assertEqual(answer.status, 400)
        self.assertIsNone(answer.header("access-control-allow-origin"))

    async def test_allowed_headers(self) -> None:
        node = await self.serve("--origin", PAGE)
        for path in ("/rooms/lobby/messages", "/rooms/lobby/events", "/poll"):
            answer = await node.request("OPTIONS", path, origin=PAGE)
            allowed = (answer.header("access-control-allow-headers") or "").lower().split(", ")
            self.assertLessEqual({"cache-control", "last-event-id"}, set(allowed))


def _one_waits(node: Node) -> bool:
    return [len(room.waiting) for room in node.service.chat.rooms] == [1]


def _one_has_ended(ends: list[Any]) -> bool:
    return any(end._ended for end in ends)


class HalfCloseTests(ServingTests):
    """RFC 9112, section 9.6: who has no more to say may still wait for its answer."""

    async def test_an_answer(self) -> None:
        node = await self.serve()
        body = head(SAY, "Host: localhost", "Content-Type: text/plain", "Content-Length: 2")
        raw = await node.raw("http")
        raw.send(body + b"hi" + head("/healthz", "Host: localhost", method="GET"))
        raw.end()
        first = await HTTP(raw, "POST").answer()
        second = await HTTP(raw, "GET").answer()
        self.assertEqual((first.status, second.status), (201, 200))
        self.assertEqual(await raw.rest(), b"")

    async def test_a_waiting_poll(self) -> None:
        node = await self.serve()
        start = (await node.get("/rooms/lobby")).json["cursor"]
        raw = await node.raw("http")
        path = f"/rooms/lobby/messages?after={start}&wait=60"
        raw.send(head(path, "Host: localhost", method="GET"))
        raw.end()
        await until(lambda: node.service.admission.connections.total == 1)
        await node.post(SAY, {"text": "at last"})
        answer = await HTTP(raw, "GET").answer()
        self.assertEqual(answer.json["messages"][0]["text"], "at last")
        self.assertEqual(await raw.rest(), b"")

    async def test_what_was_asked_behind_a_waiting_poll(self) -> None:
        """Also where the poll ends with its room, which is another way through the connection."""
        node = await self.serve()
        directory = node.service.chat.directory
        for wakes, status in (
            (lambda: node.post(SAY, {"text": "at last"}), 200),
            (lambda: directory.delete("lobby"), 404),
        ):
            start = (await node.get("/rooms/lobby")).json["cursor"]
            raw = await node.raw("http")
            path = f"/rooms/lobby/messages?after={start}&wait=60"
            raw.send(head(path, "Host: localhost", method="GET"))
            await until(lambda: node.service.ways.polls.in_hand == 1)
            raw.send(head("/healthz", "Host: localhost", method="GET") * 2)
            ends: Any = [end.protocol for end in node.connections()]
            raw.end()
            await until_of(ends, lambda ends: any(end._ended for end in ends))
            await wakes()
            statuses = [(await HTTP(raw, "GET").answer()).status for _ in range(3)]
            self.assertEqual(statuses, [status, 200, 200])
            self.assertEqual(await raw.rest(), b"")

    async def test_publishes_among_what_is_answered_at_once(self) -> None:
        node = await self.serve()
        raw, nowhere = await node.raw("http"), head("/nowhere", "Host: localhost", method="GET")
        body = head(SAY, "Host: localhost", "Content-Type: text/plain", "Content-Length: 2")
        raw.send((body + b"hi" + nowhere * 2) * 3)
        raw.end()
        statuses = [(await HTTP(raw, "POST").answer()).status for _ in range(9)]
        self.assertEqual(statuses, [201, 404, 404] * 3)
        self.assertEqual(await raw.rest(), b"")
        self.assertEqual(await said(node), ["hi"] * 3)

    async def test_a_poll_that_waits_is_answered_and_ends_the_connection(self) -> None:
        node = await self.serve()
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        path = f"/rooms/lobby/messages?after={cursor}&wait=60"
        for more in ((), ("Traceparent: x",)):  # past twisted.web, and by it
            raw = await node.raw("http")
            raw.send(head(path, "Host: localhost", *more, method="GET"))
            await until(partial(_one_waits, node))
            ends: list[Any] = [end.protocol for end in node.connections()]
            raw.end()
            await until(partial(_one_has_ended, ends))
            self.assertFalse(raw.lost or raw.received)
            node.clock.advance(61)
            self.assertEqual((await HTTP(raw, "GET").answer()).json["messages"], [])
            self.assertEqual(await raw.rest(), b"")

    async def test_an_event_stream_has_no_end_to_wait_for(self) -> None:
        node = await self.serve()
        stream = await node.events("/rooms/lobby/events")
        stream._http.raw.end()
        await until(lambda: node.service.ways.streams.leaving == 0)

    async def test_half_a_request(self) -> None:
        node = await self.serve()
        waiting = head(SAY, "Host: localhost", "Content-Length: 9")
        for sent in (b"GET / HTTP/1.1\r\nHost: localhost\r\n", waiting):
            raw = await node.raw("http")
            raw.send(sent)
            raw.end()
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 400)
        raw = await node.raw("http")
        raw.end()
        self.assertEqual(await raw.rest(), b"")


class PairTests(ServingTests):
    async def test_a_semicolon_is_no_separator(self) -> None:
        node = await self.serve()
        for body in ("text=one; two", "text=one%3B two", "text=x;id=chosen"):
            answer = await node.post(SAY, body, content_type=FORM)
            self.assertEqual(answer.status, 201)
            self.assertNotEqual(answer.json["id"], "chosen")
        self.assertEqual(await said(node), ["one; two", "one; two", "x;id=chosen"])
        await node.post("/poll", "message=a;b&username=ann&roomname=lobby", content_type=FORM)
        await node.post("/poll?message=c;d&username=ann&roomname=lobby", "")
        self.assertEqual((await said(node))[3:], ["a;b", "c;d"])
        for port in ("http", "websocket"):
            path = "/ws?x=y;username=ben&username=ann&roomname=lobby"
            socket = await node.websocket(path, port)
            self.assertEqual((await socket.find("welcome"))["user"], "ann")
            self.assertEqual((await socket.find("joined"))["room"], "lobby")

    async def test_pairs_are_read_alike_on_both_ports(self) -> None:
        node = await self.serve()
        for query, status in (
            ("username=ann&username=ben", 101),
            ("username=", 400),
            ("username=%ff", 400),
            ("username=ann&" + "x&" * 100, 400),
            ("=&&==&username=ann", 101),
        ):
            for port in ("http", "websocket"):
                socket = await node.websocket(f"/ws?{query}", port)
                self.assertEqual(socket.status, status, (query, port))
                if status == 101:
                    self.assertEqual((await socket.receive())["user"], "ann")
        many = await node.get("/rooms/lobby/messages?" + "x&" * 100)
        self.assertEqual((many.status, many.code), (400, "bad_request"))

    async def test_the_url_wins(self) -> None:
        """A proxy may have set it; a body that says otherwise is refused."""
        node = await self.serve()
        parts = _parts("text", "x") + _parts("username", "ben") + "--B--\r\n"
        for path, body, kind, status in (
            (SAY, "text=x&username=ann", FORM, 201),
            (SAY, "text=x&username=ben", FORM, 400),
            (SAY, parts, "multipart/form-data; boundary=B", 400),
            ("/rooms/lobby/messages", "text=x&username=ben", FORM, 201),
            ("/rooms/lobby/messages", "text=x", FORM, 401),
            ("/poll?username=ann", _poll("ann"), "", 200),
            ("/poll?username=ann", _poll("ben"), "", 400),
            ("/poll", _poll("ben"), "", 200),
            ("/poll?username=ann", "message=x&roomname=lobby&username=ben", FORM, 400),
            ("/poll?roomname=lobby", "message=x&roomname=den&username=ben", FORM, 400),
            ("/poll", "message=x&roomname=lobby&username=ben", FORM, 200),
        ):
            answer = await node.post(path, body, content_type=kind)
            self.assertEqual(answer.status, status, (path, body, answer.body))
        answer = await node.get("/rooms/lobby/messages?last=9")
        users = [m["user"] for m in answer.json["messages"]]
        self.assertEqual(users, ["ann", "ben", "ann", "ben", "ben"])


class BodyTests(ServingTests):
    async def test_charsets(self) -> None:
        """Honoured or refused, never taken for another."""
        node = await self.serve()
        for kind, body, text in (
            ("text/plain; charset=iso-8859-1", b"gr\xfc\xdfe", "grüße"),
            ('text/plain; charset="UTF-8"', "grüße".encode(), "grüße"),
            ("text/plain; charset=us-ascii", b"plain", "plain"),
            ("text/plain; charset=us-ascii", b"gr\xfc", 400),
            ("text/plain; charset=utf-16", "x".encode("utf-16"), 415),
            ("text/plain; charset=shift_jis", b"x", 415),
            ("application/json; charset=iso-8859-1", b'{"text":"x"}', 415),
            (f"{FORM}; charset=iso-8859-1", b"text=%fc", 415),
            (FORM, b"text=x&_charset_=iso-8859-1", 415),
            (FORM, b"text=x&_charset_=UTF-8", "x"),
            ("multipart/form-data; boundary=B", _part("iso-8859-1", b"gr\xfc\xdfe"), "grüße"),
            ("multipart/form-data; boundary=B", _part("utf-16", b"gr"), 415),
        ):
            answer = await node.post(SAY, body, content_type=kind)
            if isinstance(text, int):
                self.assertEqual((answer.status, answer.code), (text, "bad_request"), kind)
            else:
                self.assertEqual(answer.status, 201, (kind, answer.body))
                self.assertEqual((await said(node))[-1], text)
        answer = await node.post("/poll", _poll("ann"), content_type="text/plain; charset=utf-16")
        self.assertEqual(answer.status, 415)

    async def test_lengths_of_many_digits(self) -> None:
        node = await self.serve()
        for length, status in (("0" * 17 + "2", 201), ("0" * 18 + "2", 400), ("9" * 18, 413)):
            lines = "Host: localhost", "Content-Type: text/plain", f"Content-Length: {length}"
            self.assertEqual((await meet(node, head(SAY, *lines) + b"hi")).status, status, length)

    async def test_content_codings(self) -> None:
        node = await self.serve()
        for coding, status in (("gzip", 415), ("br, gzip", 415), ("identity", 201), ("", 201)):
            answer = await node.post(SAY, {"text": "x"}, content_encoding=coding)
            self.assertEqual(answer.status, status, coding)

    async def test_forms_that_take_long(self) -> None:
        """What cost another parser seconds is refused at once; see bench/worst_requests.py too."""
        node = await self.serve()
        kind = "multipart/form-data; boundary=B"
        for part in (
            'Content-Disposition: form-data; name="' + ";" * 130_000,
            "Content-Disposition: form-data; " + 'name="x"; ' * 13_000,
            "X: x\r\n" * 20_000,
        ):
            body = f"--B\r\n{part}\r\n\r\nx\r\n--B--\r\n"
            self.assertEqual((await node.post(SAY, body, content_type=kind)).status, 400)
        many = _parts("x", "y") * 17 + _parts("text", "x") + "--B--\r\n"
        self.assertEqual((await node.post(SAY, many, content_type=kind)).status, 400)
        fields = "&".join(["x=y"] * 100) + "&text=x"
        self.assertEqual((await node.post(SAY, fields, content_type=FORM)).status, 400)

    async def test_chunks_and_braces_without_end(self) -> None:
        """What costs more than its bytes is refused when there is too much of it."""
        node = await self.serve()
        chunked = head(SAY, "Host: localhost", "Transfer-Encoding: chunked")
        answer = await meet(node, chunked + b"1\r\nx\r\n" * 5000)
        self.assertEqual((answer.status, answer.code), (413, "too_large"))
        self.assertIn("1000 chunks", answer.json["text"])
        raw = await node.raw("setup")
        raw.send(b"{" * 20_000)
        self.assertRegex((await raw.rest()).decode(), "^400 bad_request: Too many")

    async def test_a_form_token_is_none(self) -> None:
        """A token comes in the header or the URL."""
        node = await self.serve()
        answer = await node.post(SAY, f"text=x&token={quote('a.b.c')}", content_type=FORM)
        self.assertEqual(answer.status, 201)


def _poll(user: str) -> str:
    value = {"status": "message", "message": "x", "username": user, "roomname": "lobby"}
    return json.dumps(value)


def _parts(name: str, value: str) -> str:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


def _part(charset: str, value: bytes) -> bytes:
    return (
        b'--B\r\nContent-Disposition: form-data; name="text"\r\n'
        b"Content-Type: text/plain; charset=%s\r\n\r\n%s\r\n--B--\r\n" % (charset.encode(), value)
    )
