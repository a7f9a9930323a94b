"""Clients that ask without reading what is answered."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from typing import Any, cast

from chatd.transports.http.connection import IDLE
from chatd.transports.setup.protocol import SetupProtocol
from tests.support.http_client import HTTP
from tests.support.kernel import buffered, connections
from tests.support.limits import KB, UNREAD, LimitsTests
from tests.support.raw import Raw
from tests.support.serving import Node
from tests.support.waiting import pause, until


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


class DeafTests(LimitsTests):
    """Clients that ask without reading what is answered."""

    async def test_websocket(self) -> None:
        node = await self.serve("--rate", "1000000/s")
        ann = await node.chat("ann")
        (connection,) = node.service.ways.websockets.connections
        ann.raw.transport.pauseProducing()
        await self.keep_little(node, ann.raw)
        request = json.dumps({"type": "message", "room": "x" * 100, "text": "x"}).encode()
        number = 4000
        ann.raw.send((b"\x81\xfe" + len(request).to_bytes(2) + bytes(4) + request) * number)
        # not only because it stands in line
        await until(lambda: connection.outlet.stops > connection._in_line)
        self.assertLess(buffered(), UNREAD)
        ann.raw.transport.resumeProducing()
        for _ in range(number):
            self.assertEqual((await ann.receive())["code"], "unknown_room")
        self.assertEqual(buffered(), 0)

    async def test_who_reads_again_has_its_answer_to_the_close_read(self) -> None:
        """Though nothing of it was, as long as answers waited: the connection ends at once."""
        node = await self.serve("--rate", "1000000/s")
        ann = await node.chat("ann")
        (connection,) = node.service.ways.websockets.connections
        ann.raw.transport.pauseProducing()
        await self.keep_little(node, ann.raw)
        request = json.dumps({"type": "message", "room": "x" * 100, "text": "x"}).encode()
        while connection.outlet.stops == connection._in_line:
            for _ in range(50):
                ann.frame(request)
            await pause(0.001)
        node.drain()
        await until(lambda: connection.state != connection.STATE_OPEN)
        ann.raw.transport.resumeProducing()
        self.assertEqual((await ann.closed()).code, 1012)

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
        """Have the kernel keep 64 KB on either side of the way to the client: it would take the
        whole of an answer. On the way from the client less than a segment of loopback (64 KB) would
        have the sender wait for TCP's timers, for minutes (RFC 9293, section 3.8.6)."""
        await until(node.connections)
        for end in node.connections():
            end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * KB)
        raw.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * KB)

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
        # far more answers than the kernel takes, which may be 360 KB of them
        request = b'{"op":"add_member","roomname":"%s","username":"ann"}\n' % (b"x" * 100)
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
