"""Clients that go on sending while a request of theirs is answered."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as _reactor

from chatd.transports.http.pipelining import AHEAD, PIECES
from tests.support.http_client import HTTP, EventStream
from tests.support.limits import KB, LimitsTests
from tests.support.raw import Raw
from tests.support.serving import Node
from tests.support.tls_ports import TLSTests
from tests.support.waiting import pause, until

reactor: Any = _reactor
#: What a node takes of a client that is far ahead: the bound, and a few reads that are under way.
TAKEN = AHEAD + 256 * KB
#: Requests of 15 KB each: 8 MB.
REQUESTS = 540
BIG = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"x" * 15_000 + b"\r\n\r\n"
HISTORY = b"GET /rooms/lobby/messages?last=1000 HTTP/1.1\r\nHost: localhost\r\n"
EVENTS = b"GET /rooms/lobby/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


def little(node: Any, client: Any) -> None:
    """Have the kernel keep little of what ``node`` sends to ``client``."""
    node.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * KB)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * KB)


class Watched:
    """The node's only connection, and how many bytes it was handed."""

    def __init__(self, node: Node) -> None:
        (self.end,) = node.connections()
        protocol: Any = self.end.protocol
        self.channel: Any = getattr(protocol, "wrappedProtocol", protocol)
        self.taken = 0
        received = self.channel.dataReceived

        def counted(data: bytes) -> None:
            self.taken += len(data)
            received(data)

        self.channel.dataReceived = counted

    @property
    def reads(self) -> bool:
        """Whether the node waits for more."""
        return self.end in reactor.getReaders()

    @property
    def kept(self) -> int:
        """Bytes of requests that are kept."""
        return sum(map(len, self.channel._dataBuffer)) + len(self.channel._buffer)

    async def has(self, size: int) -> None:
        """The node was handed ``size`` bytes."""
        await until(lambda: self.taken >= size)

    async def stops(self) -> None:
        """The node reads no further, whatever else is sent."""
        await until(lambda: not self.reads or self.taken > TAKEN)
        for _ in range(20):
            await pause(0.001)


class AheadTests(LimitsTests):
    """On plain TCP."""

    async def node(self) -> Node:
        node = await self.serve("--rate", "10000/s")
        ann = await node.chat("ann", "lobby")
        for n in range(40):
            await ann.say("lobby", str(n % 10) * 16_000)
        ann.raw.abort()
        await until(lambda: not node.connections())
        return node

    async def dial(self, node: Node) -> Raw:
        """A client that reads nothing, and whose kernel takes little for it."""
        raw = await node.raw("http")
        raw.transport.pauseProducing()
        await until(node.connections)
        (end,) = node.connections()
        little(end, raw.transport)
        return raw

    async def send_ahead(self, first: bytes) -> tuple[Node, Raw, Watched]:
        """A client that sends much behind the request ``first``, whose answer it does not read."""
        node = await self.node()
        raw = await self.dial(node)
        client = Watched(node)
        raw.send(first + b"\r\n")
        await until(lambda: client.channel._waitingForTransport)
        raw.send(BIG * REQUESTS)
        await client.stops()
        self.assertLess(client.taken, TAKEN)
        return node, raw, client

    async def test_behind_an_answer_that_is_not_read(self) -> None:
        node, raw, client = await self.send_ahead(HISTORY)
        budget = node.service.admission.unread
        self.assertGreaterEqual(budget.total, client.channel.holds + AHEAD)
        raw.transport.resumeProducing()
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)
        for _ in range(REQUESTS):
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 404)
        self.assertEqual((client.kept, budget.total), (0, 0))

    async def test_behind_the_last_answer(self) -> None:
        """The connection still ends when that has been read."""
        _, raw, client = await self.send_ahead(HISTORY + b"Connection: close\r\n")
        raw.transport.resumeProducing()
        await until(lambda: raw.lost)
        self.assertEqual(client.kept, 0)

    async def test_behind_a_poll_that_waits(self) -> None:
        """In pieces as small as can be: how many there are costs nothing."""
        node = await self.node()
        cursor = (await node.get("/rooms/lobby")).json["cursor"]
        await until(lambda: not node.connections())
        raw = await self.dial(node)
        client = Watched(node)
        path = f"/rooms/lobby/messages?after={cursor}&wait=50"
        raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await until(lambda: client.channel._handlingRequest)
        for n in range(1000):
            client.channel.dataReceived(BIG[n : n + 1])
        self.assertLessEqual(len(client.channel._dataBuffer), PIECES)
        raw.send(BIG[1000:] + BIG * REQUESTS)
        await client.stops()
        self.assertLess(client.taken, TAKEN)
        raw.transport.resumeProducing()
        await node.post("/rooms/lobby/messages?username=ben", {"text": "news"})
        answer = await HTTP(raw, "GET").answer()
        self.assertEqual([m["text"] for m in answer.json["messages"]], ["news"])
        for _ in range(REQUESTS + 1):
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 404)

    async def test_on_an_event_stream(self) -> None:
        """However little or much the client sends, the stream goes on."""
        node = await self.node()
        raw = await node.raw("http")
        await until(node.connections)
        client = Watched(node)
        raw.send(EVENTS)
        http = HTTP(raw, "GET")
        stream = EventStream(http, await http.head())
        for n, sent in enumerate((b"x", b"\r\n", b"x" * KB, BIG * REQUESTS)):
            taken = client.taken
            raw.send(sent)
            await client.has(taken + 1)
            await node.post("/rooms/lobby/messages?username=ben", {"text": str(n)})
            self.assertEqual((await stream.message()).data["text"], str(n))
        await client.stops()
        self.assertLess(client.taken, TAKEN)

    async def test_on_an_event_stream_that_is_not_read(self) -> None:
        node = await self.node()
        raw = await self.dial(node)
        client = Watched(node)
        raw.send(EVENTS.replace(b" HTTP", b"?last=1000 HTTP"))
        await until(lambda: client.channel._waitingForTransport)
        raw.send(BIG * REQUESTS)
        await client.stops()
        self.assertLess(client.taken, TAKEN)
        raw.transport.resumeProducing()
        http = HTTP(raw, "GET")
        stream = EventStream(http, await http.head())
        for _ in range(40):
            await stream.message()
        await node.post("/rooms/lobby/messages?username=ben", {"text": "on it goes"})
        self.assertEqual((await stream.message()).data["text"], "on it goes")


class TLSAheadTests(TLSTests):
    """Over TLS, where what is read is decrypted first."""

    async def ahead(self, request: bytes) -> tuple[Node, Raw, Watched]:
        node = await self.tls()
        for n in range(40):
            said = {"text": str(n % 10) * 16_000}
            path = "/rooms/lobby/messages?username=ann"
            answer = await (await self.ask(node, "POST", path, said)).answer()
            self.assertEqual(answer.status, 201)
        await until(lambda: not node.connections())
        raw = await self.dial(node, "http")
        await until(node.connections)
        client = Watched(node)
        little(client.end, raw.transport.transport)
        raw.send(BIG)
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 404)  # so the handshake is done
        raw.transport.pauseProducing()
        client.taken = 0
        raw.send(request)
        await until(lambda: client.channel._waitingForTransport)
        raw.send(BIG * REQUESTS)
        await client.stops()
        self.assertLess(client.taken, TAKEN)
        return node, raw, client

    async def test_behind_an_answer_that_is_not_read(self) -> None:
        _, raw, _ = await self.ahead(HISTORY + b"\r\n")
        raw.transport.resumeProducing()
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)
        for _ in range(REQUESTS):
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 404)

    async def test_behind_the_last_answer(self) -> None:
        _, raw, client = await self.ahead(HISTORY + b"Connection: close\r\n\r\n")
        raw.transport.resumeProducing()
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)
        raw.transport.loseConnection()
        await until(lambda: raw.lost)
        self.assertEqual(client.kept, 0)

    async def test_on_an_event_stream_that_is_not_read(self) -> None:
        node, raw, _ = await self.ahead(EVENTS.replace(b" HTTP", b"?last=1000 HTTP"))
        raw.transport.resumeProducing()
        http = HTTP(raw, "GET")
        stream = EventStream(http, await http.head())
        for _ in range(40):
            await stream.message()
        path = "/rooms/lobby/messages?username=ann"
        await (await self.ask(node, "POST", path, {"text": "on it goes"})).answer()
        self.assertEqual((await stream.message()).data["text"], "on it goes")
