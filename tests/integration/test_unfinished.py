"""Clients that begin to send something large, and do not end it."""

from __future__ import annotations

from chatd.access.budget import SMALL
from chatd.transports.http.head import READ_ON
from tests.support.limits import KB, POST, LimitsTests
from tests.support.raw import Raw
from tests.support.serving import Node
from tests.support.waiting import until

#: What all of them may hold together, and how much each begins with.
ALL, EACH = 256 * KB, 100 * KB


def frame(first: int, payload: bytes) -> bytes:
    """A frame of 64 KiB or more with this first byte, masked by zeros."""
    return bytes([first, 0xFF]) + len(payload).to_bytes(8) + bytes(4) + payload


class UnfinishedTests(LimitsTests):
    async def node(self) -> Node:
        return await self.serve("--max-unread", str(ALL))

    async def held(self, node: Node, size: int) -> None:
        """Such clients hold so many bytes, and perhaps a head with each of them."""
        unfinished = node.service.admission.unfinished
        await until(lambda: 0 <= unfinished.total - size < KB)

    async def the_oldest_is_cut(self, node: Node, many: list[Raw], data: bytes, size: int) -> None:
        """Of three that send ``data``, of which ``size`` bytes are kept, the first is cut."""
        for n, raw in enumerate(many):
            raw.send(data)
            await self.held(node, min(n + 1, 2) * size)
        await self.lost(many[0])
        self.assertEqual([raw.lost for raw in many], [True, False, False])
        for raw in many:
            raw.abort()
        await self.held(node, 0)

    async def test_frames_and_messages_in_fragments(self) -> None:
        node = await self.node()
        for data in (frame(0x81, b"x" * EACH)[:-1], frame(0x01, b"x" * EACH)):
            many = [(await node.chat(name)).raw for name in ("ann", "ben", "cat")]
            await self.the_oldest_is_cut(node, many, data, EACH - 1)

    async def test_bodies(self) -> None:
        node = await self.node()
        data = POST + b"Content-Length: 110000\r\n\r\n" + b"x" * EACH
        many = [await node.raw("http") for _ in range(3)]
        await self.the_oldest_is_cut(node, many, data, EACH)

    async def test_malformed_heads(self) -> None:
        node = await self.node()
        many = [await node.raw("http") for _ in range(5)]
        for raw in many:
            raw.send(b"GET / HTTP/1.1\r\nno header\r\nX: " + b"x" * (READ_ON - 1000))
        await until(lambda: any(raw.lost for raw in many))
        self.assertEqual(sum(raw.lost for raw in many), 1)

    async def test_what_comes_behind_a_request_in_hand(self) -> None:
        node = await self.node()
        raw = await node.raw("http")
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        poll = f"GET /rooms/lobby/messages?after={cursor}&wait=30 HTTP/1.1\r\nHost: localhost"
        raw.send(poll.encode() + b"\r\n\r\n")
        await until(lambda: node.service.admission.connections.total == 1)
        raw.send(b"G" * 10 * KB)
        await self.held(node, 10 * KB)

    async def test_what_has_ended_is_counted_no_more(self) -> None:
        node = await self.node()
        ann, raw = await node.chat("ann"), await node.raw("http")
        text = b'{"type":"typing","room":"' + b"x" * EACH + b'"}'
        ann.raw.send(frame(0x01, text))
        raw.send(POST + f"Content-Length: {EACH}\r\n\r\n".encode() + b"x" * (EACH - 1))
        await self.held(node, len(text) + EACH - 1)
        ann.raw.send(b"\x80\x80" + bytes(4))
        raw.send(b"x")
        self.assertEqual((await ann.receive())["code"], "bad_request")
        self.assertIn(b"400", await raw.until(b"\r\n"))
        await self.held(node, 0)

    async def test_who_goes_on_to_the_next_is_the_last_to_be_cut(self) -> None:
        node = await self.node()
        ann, ben = await node.chat("ann"), await node.chat("ben")
        text = b'{"type":"typing","room":"' + b"x" * EACH + b'"}'
        for one in (ann, ben):
            one.raw.send(frame(0x01, text))
        await self.held(node, 2 * len(text))
        ann.raw.send(b"\x80\x80" + bytes(4) + frame(0x01, text))
        self.assertEqual((await ann.receive())["code"], "bad_request")
        await self.held(node, 2 * len(text))
        cat = await node.chat("cat")
        cat.raw.send(frame(0x01, text))
        await self.lost(ben.raw)
        self.assertFalse(ann.raw.lost)

    async def test_what_is_small_is_not_counted(self) -> None:
        node = await self.node()
        ann = await node.chat("ann")
        ann.frame(b"x" * SMALL, fin=False)
        ann.frame(b"", opcode=0x9)
        await ann.receive_frame()
        self.assertEqual(node.service.admission.unfinished.total, 0)
