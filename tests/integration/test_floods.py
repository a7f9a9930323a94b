"""Floods on a running node are paid for by who floods, and what nobody reads is not kept."""

from __future__ import annotations

import errno
import json
import os
from itertools import pairwise
from pathlib import Path
from socket import create_connection
from typing import Any
from unittest import mock

from twisted.internet import reactor as _reactor
from twisted.internet.error import ConnectionLost
from twisted.internet.tcp import Port
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from chatd.access.fair_queue import AT_ONCE
from chatd.net.accepting import A_TURN
from chatd.protocol.json import load_sent
from chatd.telemetry.log import FORMATS, OFTEN, Log, Output
from chatd.transports.http import legacy_poll, messages, rooms
from chatd.transports.http.call import LARGE
from chatd.transports.websocket.chat_v1 import ChatV1
from tests.support.http_client import HTTP
from tests.support.serving import Node, ServingTests
from tests.support.waiting import pause, until, until_of
from tests.support.ws_client import WebSocket

reactor: Any = _reactor

KB = 1024
KEY = "the-key-of-the-administrators"


def said(**value: object) -> bytes:
    """A client's text frame; the mask is zero, so nothing is changed."""
    payload = json.dumps(value).encode()
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload


class FloodTests(ServingTests):
    async def flood(self, node: Node, data: bytes) -> list[WebSocket]:
        """Ten sockets that have sent ``data`` and read nothing of what is answered."""
        sockets = [await node.chat(f"flood{n}") for n in range(10)]
        for socket in sockets:
            socket.raw.transport.pauseProducing()
            socket.raw.send(data)
        return sockets

    async def test_others_are_served_before_a_flood_is(self) -> None:
        node = await self.serve("--rate=100/s")
        ann = await node.chat("ann", "lobby")
        served = node.service.admission.turns
        sockets = await self.flood(node, said(type="leave", room="lobby") * 20_000)
        await until(lambda: bool(served._ready) or any(x.waiting for x in served._flows.values()))
        for n in range(5):
            await ann.say("lobby", str(n))
        self.assertTrue(any(flow.waiting for flow in served._flows.values()))
        for socket in sockets:
            socket.raw.abort()
        await until(lambda: len(node.service.ways.websockets.connections) == 1)

    async def test_a_frame_that_fails_in_its_turn_ends_its_connection_alone(self) -> None:
        node = await self.serve()
        ann, bob = await node.chat("ann", "lobby"), await node.chat("bob", "lobby")
        received = ChatV1.received

        def faulty(dialect: ChatV1, payload: bytes, binary: bool) -> None:
            if b"fault" in payload:
                raise RuntimeError("a fault of one request")
            received(dialect, payload, binary)

        self.patch(ChatV1, "received", faulty)
        bob.raw.send(said(type="leave", room="other") * AT_ONCE + said(type="fault"))
        await bob.raw.rest()
        many = 3 * AT_ONCE
        ann.raw.send(said(type="leave", room="lobby") * many)
        for _ in range(many):
            await ann.find("left")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(list(node.service.metrics.refusals), [], "it did not ask too much")

    def key_file(self) -> str:
        path = Path(self.mktemp())
        path.write_text(KEY)
        return str(path)

    async def bodies(self, node: Node, method: str, path: str, body: bytes) -> list[HTTP]:
        """Requests whose last bytes come together, so that the node reads them in one go."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        asked = []
        for _ in range(10):
            asked.append(HTTP(raw := await node.raw("http"), method))
            raw.send(f"{head}Authorization: Bearer {KEY}\r\n\r\n".encode() + body[:-1])
        channels: list[Any] = []

        def here() -> bool:
            channels[:] = [one.protocol for one in node.connections()]
            came = [sum(r.body._size for r in channel.requests) for channel in channels]
            return came == [len(body) - 1] * len(asked)

        await until(here)
        for channel in channels:
            channel.dataReceived(body[-1:])
        return asked

    async def test_large_bodies_that_end_together_are_parsed_in_turns(self) -> None:
        node = await self.serve("--rate=1000/s", f"--admin-key={self.key_file()}")
        parsed = mock.Mock(side_effect=load_sent)
        for module in (messages, legacy_poll, rooms):
            self.patch(module, "load_sent", parsed)
        value = {"text": "x", "status": "message", "message": "x", "more": "x" * LARGE}
        body = json.dumps(value).encode()
        for method, path, status in (
            ("POST", "/rooms/lobby/messages?username=ann", 201),
            ("POST", "/poll?username=ann&roomname=lobby", 200),
            ("PUT", "/rooms/lobby", 200),
        ):
            parsed.reset_mock()
            asked = await self.bodies(node, method, path, body)
            self.assertEqual(parsed.call_count, 0, path)
            for one in asked:
                self.assertEqual((await one.answer()).status, status)
                one.raw.abort()
            self.assertEqual(parsed.call_count, len(asked))
            await until(lambda: not node.connections())

    async def test_who_hangs_up_before_its_body_has_its_turn(self) -> None:
        node = await self.serve("--rate=1000/s", f"--admin-key={self.key_file()}")
        body = json.dumps({"text": "x" * LARGE, "id": "7"}).encode()
        asked = await self.bodies(node, "POST", "/rooms/lobby/messages?username=ann", body)
        for end in node.connections():
            end.connectionLost(Failure(ConnectionLost()))
        for one in asked:
            await until_of(one.raw, lambda raw: raw.lost)
        router = node.service.ways.http.resource
        self.assertEqual((router.in_hand, router.leaving), (0, 0))
        self.assertEqual((await node.get("/rooms/lobby/messages?last=9")).json["messages"], [])

    async def test_broken_frames_leave_no_lines_in_the_log(self) -> None:
        """Each kind, from as many sockets as would make the log leave lines out."""
        node = await self.serve()
        path = Path(self.mktemp())
        log = Log(Output(str(path)), FORMATS["text"])
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        self.addCleanup(log.output.close)
        broken = (b"\x83", b"\xf1", b"\x00", b"\x09")  # opcode, reserved bits, continuation, ping
        for first in broken * OFTEN:
            socket = await node.chat("ann")
            socket.raw.send((first + b"\x82" + bytes(4) + b"\xff\xff") * 10)
            await socket.closed()
        log(LogEvent(log_time=0.0, log_namespace="chatd", log_format="The end."))
        self.assertNotIn("warn", path.read_text())

    async def test_few_connections_are_accepted_in_a_turn(self) -> None:
        """However many come, on every port."""
        node = await self.serve()
        for name in ("websocket", "http", "setup"):
            before = len(node.connections())
            address = ("127.0.0.1", node.port(name))
            clients = [create_connection(address) for _ in range(40)]
            (port,) = [
                one
                for one in reactor.getReaders()
                if isinstance(one, Port) and one.getHost().port == address[1]
            ]
            found = [before]
            while found[-1] < before + 40:
                port.doRead()
                found.append(len(node.connections()))
            self.assertLessEqual(max(b - a for a, b in pairwise(found)), A_TURN)
            for client in clients:
                client.close()
            await until(lambda: not node.connections())

    async def test_connections_for_which_there_is_too_little(self) -> None:
        """They are closed at once, or wait. That is in the log with what to do, and not once for
        each; not that a client had gone before it was accepted."""
        node = await self.serve()
        (port,) = [
            one
            for one in reactor.getReaders()
            if isinstance(one, Port) and one.getHost().port == node.port("http")
        ]
        real, port.socket = port.socket, mock.Mock()
        self.addCleanup(setattr, port, "socket", real)
        with capturedLogs() as events:
            for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ECONNABORTED) * 2:
                full = OSError(number, os.strerror(number))
                port.socket.accept.side_effect = [full, BlockingIOError(errno.EAGAIN, "")]
                port.doRead()
        said = [formatEvent(event) for event in events if event["log_level"] >= LogLevel.warn]
        expected = (r"\(EMFILE\).* ulimit -n", r"\(ENFILE\).* fs.file-max", r"memory.*\(ENOBUFS\)")
        self.assertEqual(len(said), len(expected), said)
        for line, pattern in zip(said, expected, strict=True):
            self.assertRegex(line, pattern)

    async def joins(self, count: int) -> tuple[Node, WebSocket, Any]:
        """A client that asks ``count`` times for a crowd and does not read; and the node's side."""
        node = await self.serve("--rate=1000/s")
        members = node.service.chat.presence
        for n in range(200):
            members.enter("lobby", f"{n:03}" + "x" * 61)
        ann = await node.chat("ann")
        (connection,) = node.service.ways.websockets.connections
        ann.raw.transport.pauseProducing()
        ann.raw.send(said(type="join", room="lobby") * count)
        return node, ann, connection

    async def test_joins_that_nobody_reads_the_answers_of(self) -> None:
        """What has come waits while answers do."""
        node, ann, connection = await self.joins(400)
        await until(lambda: not connection.outlet.writable)
        for _ in range(50):
            await pause(0.002)
        server = connection.transport
        self.assertLess(len(server.dataBuffer) + server._tempDataLen, 256 * KB)
        ann.raw.transport.resumeProducing()
        for _ in range(400):
            await ann.find("joined")
        self.assertEqual(node.service.admission.unread.total, 0)

    async def test_what_was_not_taken_is_gone_with_the_connection(self) -> None:
        node = await self.serve("--rate=1000/s")
        ann = await node.chat("ann", "lobby")
        for n in range(40):
            await ann.say("lobby", f"{n}" + "x" * 15_000)
        deaf = await node.raw("http")
        deaf.transport.pauseProducing()
        deaf.send(b"GET /rooms/lobby/messages?last=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: node.service.admission.unread.total > 0)
        server: Any = next(iter(node.service.admission.unread._held))
        self.assertGreater(len(server.dataBuffer) + server._tempDataLen, 0)
        deaf.abort()
        await until(lambda: not server.connected)
        self.assertEqual(node.service.admission.unread.total, 0)
        self.assertEqual((len(server.dataBuffer), server._tempDataBuffer), (0, []))

    async def test_while_a_join_waits_for_its_reader_no_other_is_taken_up(self) -> None:
        """A request that waits costs memory, too."""
        _, ann, connection = await self.joins(40)
        await until(lambda: bool(connection.outlet._waiting))
        self.assertGreater(connection.outlet.stops, connection._in_line)
        ann.raw.transport.resumeProducing()
        for _ in range(40):
            await ann.find("joined")
