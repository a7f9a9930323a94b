"""The opening and the closing handshake (RFC 6455): the two WebSocket ports behave the same."""

from __future__ import annotations

import base64
import hashlib
from http import HTTPStatus

from chatd.access.fair_queue import AT_ONCE
from chatd.transports.http.pipelining import AHEAD
from tests.support.http_client import HTTP, Answer
from tests.support.serving import Node, ServingTests
from tests.support.waiting import until
from tests.support.ws_client import CLOSE, WebSocket, welcome

PLACES = (("websocket", "/"), ("http", "/ws"))
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEADERS = (
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Protocol: chatd.v1",
)


def head(path: str, *headers: str, version: str = "1.1") -> bytes:
    """A handshake, byte for byte; ``headers`` replace those of the same name."""
    names = {header.partition(":")[0] for header in headers}
    kept = [header for header in HEADERS if header.partition(":")[0] not in names]
    given = [header for header in headers if header.partition(":")[1:] != (":", "")]
    lines = [f"GET {path}?username=ann HTTP/{version}", *kept, *given, "", ""]
    return "\r\n".join(lines).encode()


async def shake(node: Node, port: str, data: bytes) -> WebSocket:
    """Send ``data`` and read the answer to the handshake in it."""
    raw = await node.raw(port)
    raw.send(data)
    http = HTTP(raw, "GET")
    answer = await http.head()
    assert answer.phrase == HTTPStatus(answer.status).phrase
    if answer.status != 101:
        length = int(str(answer.header("content-length")))
        answer = Answer(answer.status, answer.headers, await raw.take(length))
    return WebSocket(raw, answer)


def masked(payload: bytes, opcode: int = 1) -> bytes:
    """A short frame as clients send it, masked with zeros."""
    return bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


class StrictTests(ServingTests):
    """What a proxy in front may take for another request is refused on both ports alike."""

    async def test_heads(self) -> None:
        node = await self.serve()
        for more, status in (
            ("Host:", 400),
            ("Host: localhost\r\nHost: localhost", 400),
            ("Host: a b", 400),
            ("Host: localhost@evil.example", 400),
            ("Host : localhost", 400),
            ("Content-Length: 5", 400),
            ("Content-Length: 0\r\nContent-Length: 5", 400),
            ("Transfer-Encoding: chunked", 400),
            ("X-A: b\x00c", 400),
            ("X-A: b\nX-B: c", 400),
            ("X A: b", 400),
            ("no colon", 400),
            ("Host: evil.example", 403),
            ("Origin: null", 403),
            ("Origin: x", 403),
            ("Origin: http://localhost\r\nOrigin: http://evil.example", 403),
            ("Sec-Fetch-Site: cross-site", 403),
            ("Content-Length: 0", 101),
            ("Host: localhost:", 101),
            ("Host: [::1]:", 101),
            ("Host: evil.example:", 403),
        ):
            for port, path in PLACES:
                socket = await shake(node, port, head(path, more))
                self.assertEqual(socket.status, status, (port, more))
                socket.raw.abort()

    async def test_whole_urls(self) -> None:
        """RFC 9112, section 3.2.2: the URL's authority counts, and not the Host header."""
        node = await self.serve()
        for url, more, status in (
            ("http://localhost", "Host: localhost", 101),
            ("http://localhost", "Host: evil.example", 101),
            ("HTTPS://LOCALHOST:9000", "Host: evil.example", 101),
            ("http://localhost:", "Host: localhost", 101),
            ("http://evil.example", "Host: localhost", 403),
            ("http://evil.example", "Origin: http://localhost", 403),
            ("http://localhost", "Host: evil.example\r\nOrigin: http://localhost", 101),
            ("http://localhost", "Host: evil.example\r\nOrigin: http://evil.example", 403),
            ("http://", "Host: localhost", 400),
            ("http://a@localhost", "Host: localhost", 400),
            ("ftp://localhost", "Host: localhost", 400),
        ):
            for port, path in PLACES:
                socket = await shake(node, port, head(url + path, more))
                self.assertEqual(socket.status, status, (port, url, more))
                if status == 101:
                    self.assertEqual(await socket.receive(), welcome("ann"))
                socket.raw.abort()
        for url, status in (
            ("ws://localhost/", 101),
            ("ws://evil.example/", 403),
            ("http://localhost", 101),
            ("http://localhost/?a#b", 400),
        ):
            socket = await shake(node, "websocket", head(url))
            self.assertEqual(socket.status, status, url)
            socket.raw.abort()

    async def test_folded_lines(self) -> None:
        """RFC 9112, section 5.2: refused, or joined in one."""
        node = await self.serve()
        data = head("/", "X-A: b\r\n Host: evil.example")
        self.assertEqual((await shake(node, "websocket", data)).status, 400)


class OpeningTests(ServingTests):
    async def test_accepted(self) -> None:
        node = await self.serve()
        for port, path in PLACES:
            for more in (
                (),
                ("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: x-a"),
                ("sec-websocket-extensions: x-a; b=1", "SEC-WEBSOCKET-EXTENSIONS: x-b, x-c"),
                ("Sec-WebSocket-Protocol: mqtt", "Sec-WebSocket-Protocol: chatd.v1"),
                ("Upgrade: h2c, websocket",),
                ("Upgrade: h2c", "Upgrade: WebSocket"),
                ("Upgrade: WEBSOCKET,h2c",),
                ("Connection: keep-alive, Upgrade",),
                ("Connection: keep-alive", "Connection: upgrade"),
            ):
                socket = await shake(node, port, head(path, *more))
                self.assertEqual(socket.status, 101, (port, more, socket.answer))
                digest = hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode())
                accept = base64.b64encode(digest.digest()).decode()
                self.assertEqual(socket.answer.header("sec-websocket-accept"), accept)
                self.assertEqual(socket.answer.header("sec-websocket-protocol"), "chatd.v1")
                self.assertIsNone(socket.answer.header("sec-websocket-extensions"))
                self.assertEqual(await socket.receive(), welcome("ann"))

    async def test_what_is_a_websocket_now_is_no_request(self) -> None:
        """It holds no place of a request: neither open nor closed it keeps others out, and a node
        that drains does not wait for an answer to it."""
        node = await self.serve("--max-connections-per-address=3")
        for path in ("/ws", "/socket.io/?EIO=4&transport=websocket"):
            for _ in range(40):
                socket = await node.websocket(path, "http")
                self.assertEqual(socket.status, 101)
                await socket.receive_frame()
                socket.raw.abort()
                await until(lambda: not node.connections())
        self.assertEqual((await node.get("/rooms/lobby")).status, 200)
        await node.websocket("/ws", "http")
        self.assertEqual(node.service.ways.api.leaving, 0)

    async def test_frames_in_the_packet_of_the_handshake(self) -> None:
        """What is sent right behind it is heard, on a connection's first request and on a later."""
        node = await self.serve()
        join = masked(b'{"type":"join","room":"lobby"}')
        leave = masked(b'{"type":"leave","room":"lobby"}')
        for port, path in PLACES:
            for before in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
                if before and port != "http":
                    continue
                raw = await node.raw(port)
                data = before + head(path) + join + leave
                raw.send(data[:-3])
                if before:
                    self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)
                answer = await HTTP(raw, "GET").head()
                self.assertEqual(answer.status, 101)
                socket = WebSocket(raw, answer)
                self.assertEqual((await socket.receive())["type"], "welcome", port)
                self.assertEqual((await socket.receive())["type"], "joined", port)
                raw.send(data[-3:])
                self.assertEqual((await socket.find("left"))["room"], "lobby")

    async def test_who_sends_much_before_the_handshake_is_done_is_heard_after_it(self) -> None:
        """Reading from the client stops while the handshake waits for its turn."""
        node = await self.serve()
        leave = b'{"type":"leave","room":"lobby"}'.ljust(AHEAD)
        long = b"\x81\xfe" + len(leave).to_bytes(2) + bytes(4) + leave
        raw = await node.raw("http")
        await until(node.connections)
        (end,) = node.connections()
        others = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" * AT_ONCE
        end.protocol.dataReceived(others + head("/ws") + long)
        for _ in range(AT_ONCE):
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 404)
        answer = await HTTP(raw, "GET").head()
        self.assertEqual(answer.status, 101)
        raw.send(masked(b'{"type":"join","room":"lobby"}'))
        self.assertEqual((await WebSocket(raw, answer).find("joined"))["room"], "lobby")

    async def test_another_method(self) -> None:
        """What is allowed is said, and to HEAD nothing else."""
        node = await self.serve()
        for method, target, port, status in (
            ("HEAD", "/", "websocket", 405),
            ("POST", "/", "websocket", 405),
            ("HEAD", "/ws", "http", 426),
            ("HEAD", "/socket.io/?EIO=4&transport=websocket", "http", 400),
            ("POST", "/ws", "http", 405),
        ):
            for more in ("\r\n".join(HEADERS), HEADERS[0]):
                raw = await node.raw(port)
                raw.send(f"{method} {target} HTTP/1.1\r\n{more}\r\n\r\n".encode())
                http = HTTP(raw, method)
                answer = await http.head()
                self.assertEqual(answer.status, status, (method, port, more))
                if status == 405:
                    self.assertIn("GET", answer.header("allow") or "")
                if method == "HEAD":
                    if port == "http":  # the connection goes on
                        raw.end()
                    self.assertEqual(await raw.rest(), b"", (target, more))
                else:
                    self.assertIn(b'"Use GET."', await http.body(answer))

    async def test_no_websocket(self) -> None:
        """What does not ask for it, or may not (RFC 9110, sections 7.8 and 15.5.22)."""
        node = await self.serve()
        for port, path in PLACES:
            for more, version in (
                (("Upgrade:",), "1.1"),
                (("Upgrade: h2c",), "1.1"),
                (("Upgrade: websockets",), "1.1"),
                ((), "1.0"),
                (("Upgrade:",), "1.0"),
            ):
                socket = await shake(node, port, head(path, *more, version=version))
                self.assertEqual(
                    (socket.status, socket.answer.code), (426, "bad_request"), (port, more)
                )
                self.assertIn("HTTP/1.1", socket.answer.json["text"])
                self.assertEqual(socket.answer.header("upgrade"), "websocket")
                kind = "application/json; charset=utf-8"
                self.assertEqual(socket.answer.header("content-type"), kind)

    async def test_refused_alike(self) -> None:
        node = await self.serve()
        for more, status in (
            (("Connection:",), 400),
            (("Connection: close",), 400),
            (("Sec-WebSocket-Version:",), 400),
            (("Sec-WebSocket-Version: 12",), 400),
            (("Sec-WebSocket-Version: 8", "Sec-WebSocket-Origin: https://evil.example"), 400),
            (("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"), 400),
            (("Sec-WebSocket-Key:",), 400),
            (("Sec-WebSocket-Key: short",), 400),
            ((f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Key: {KEY}"), 400),
            (("Sec-WebSocket-Protocol: mqtt",), 400),
            (("Host: evil.example",), 403),
            (("Origin: https://evil.example",), 403),
        ):
            for port, path in PLACES:
                socket = await shake(node, port, head(path, *more))
                code = "forbidden" if status == 403 else "bad_request"
                self.assertEqual((socket.status, socket.answer.code), (status, code), (port, more))
                self.assertNotIn("..", socket.answer.json["text"])
                # else a cache in front would refuse everyone's handshake so
                kept = socket.answer.header("cache-control")
                self.assertEqual(kept, "no-store, no-transform", (port, more))
                if more[0].endswith(("8", "12")):
                    self.assertEqual(socket.answer.header("sec-websocket-version"), "13")
        self.assertEqual(node.service.admission.connections.total, 0)


class ClosingTests(ServingTests):
    async def echoed(self, node: Node, payload: bytes, protocol: str | None, port: str) -> bytes:
        path = "/ws?username=ann&roomname=lobby"
        socket = await node.websocket(path, port, protocol)
        socket.frame(payload, CLOSE)
        while True:
            opcode, answer = await socket.receive_frame()
            if opcode == CLOSE:
                await socket.raw.rest()
                return answer

    async def test_a_code_is_echoed(self) -> None:
        """RFC 6455, section 5.5.1; the codes are those of section 7.4 and of its registry."""
        node = await self.serve()
        for port, _ in PLACES:
            for protocol in ("chatd.v1", None):
                for code in (1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4000, 4999):
                    payload = code.to_bytes(2) + "tschüß".encode()
                    self.assertEqual(await self.echoed(node, payload, protocol, port), payload)
                self.assertEqual(await self.echoed(node, b"", protocol, port), b"")

    async def test_what_is_no_code(self) -> None:
        node = await self.serve()
        for port, _ in PLACES:
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65535):
                answer = await self.echoed(node, code.to_bytes(2), "chatd.v1", port)
                self.assertEqual(int.from_bytes(answer[:2]), 1002, code)
            answer = await self.echoed(node, (4000).to_bytes(2) + b"\xff", "chatd.v1", port)
            self.assertEqual(int.from_bytes(answer[:2]), 1007)


class WelcomeTests(ServingTests):
    async def test_the_limits_are_those_of_the_node(self) -> None:
        """So that a client can judge before it sends."""
        node = await self.serve("--max-text=1KB", "--max-frame=256KB")
        socket = await node.websocket("/?username=ann")
        self.assertEqual(await socket.receive(), welcome("ann", text=1024, frame=262144))
