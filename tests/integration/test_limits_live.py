"""What a running node takes of one client at once: frames, bodies, requests of the set-up port."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.threads import deferToThread

from chatd.access.overflow import KEPT
from chatd.transports.setup.factory import MAX_PER_ADDRESS
from chatd.transports.websocket.frames import PIECES
from tests.support.http_client import HTTP
from tests.support.kernel import connections
from tests.support.limits import KB, POST, LimitsTests
from tests.support.raw import PATIENCE
from tests.support.serving import Node
from tests.support.waiting import pause, until


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
        for expected in (b"100-continue", b"100-Continue, x", b"x\r\nExpect: 100-continue"):
            raw = await node.raw("http")
            head = POST + b"Content-Type: text/plain\r\nExpect: " + expected
            raw.send(head + b"\r\nContent-Length: 3\r\n\r\n")
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
            # else a cache in front would give it to everyone who asks for the same path
            self.assertEqual(answer.header("cache-control"), "no-store, no-transform", sent[:80])
            self.assertEqual(answer.header("x-content-type-options"), "nosniff", sent[:80])
        self.assertEqual(self.refused(node, "bad_request"), 18)
        self.assertEqual(await self.said(node), [])


def _send_all(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as raw:
        raw.sendall(data)
        return raw.recv(65536)


def _sized(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


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

    async def test_far_too_many(self) -> None:
        """Who is refused does not linger in any number, however many come."""
        node = await self.serve()
        held = [await node.raw("setup") for _ in range(MAX_PER_ADDRESS)]
        over = []
        for _ in range(4 * KEPT):
            over.append(await node.raw("setup"))
            over[-1].transport.pauseProducing()  # it does not see that it is refused
        await until(lambda: self.refused(node, "unavailable") == len(over))
        await pause(0.01)  # the last is aborted in the next turn
        self.assertEqual(len(node_setup(node).protocols), MAX_PER_ADDRESS + KEPT)
        over[-1].transport.resumeProducing()
        self.assertRegex((await over[-1].rest()).decode(), "^503 unavailable: ")
        held[0].abort()
        await until(lambda: node_setup(node).connections.total == MAX_PER_ADDRESS - 1)

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
