"""A whole node in the test's own process, and small clients to meet it from outside.

::

    class SomeTests(ServingTests):
        async def test_something(self) -> None:
            node = await self.serve("--rate", "1000/s")
            ann = await node.websocket("/?username=ann")

The node is what ``twistd chatd`` runs, on the real reactor and free ports of 127.0.0.1. Its clock
runs with the real one, and a test may turn it forward (`TurnedClock.advance`). Everything is closed
when the test ends, or trial's look at the reactor fails it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.application.internet import StreamServerEndpointService
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers

from chatd.config.options import Options
from chatd.tap import ChatService
from tests.support.waiting import until, until_of

reactor: Any = _reactor

#: Seconds a client waits for what must come, on a busy machine.
PATIENCE = 20.0

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def together(*work: Coroutine[Any, Any, Any]) -> Deferred[list[Any]]:
    """Do all of ``work`` at the same time; the results in order."""
    doing = [Deferred.fromCoroutine(one) for one in work]
    return gatherResults(doing, consumeErrors=True)


# -- the node --------------------------------------------------------------------------------------


class Clients:
    """Makes clients of the chatd that listens on ``ports`` of 127.0.0.1: ``websocket``, ``http``
    and ``setup``."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.ports = ports
        self._made: list[Raw] = []

    def port(self, name: str) -> int:
        """The number of a port."""
        return self.ports[name]

    async def hang_up(self) -> None:
        """End all clients."""
        for client in self._made:
            client.abort()
        for client in self._made:
            await until_of(client, lambda one: one.lost)

    async def raw(self, port: str) -> Raw:
        """A TCP connection to ``port``."""
        client = Raw()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.ports[port]), client)
        self._made.append(client)
        return client

    async def websocket(
        self,
        path: str = "/",
        port: str = "websocket",
        protocol: str | None = "chatd.v1",
        **headers: str,
    ) -> WebSocket:
        """A WebSocket, open or refused: see `WebSocket.status`."""
        raw = await self.raw(port)
        shown = {"Host": f"127.0.0.1:{self.ports[port]}", **_named(headers)}
        if protocol is not None:
            shown["Sec-WebSocket-Protocol"] = protocol
        return await WebSocket.open(raw, path, shown)

    async def chat(self, user: str, *rooms: str) -> WebSocket:
        """A WebSocket welcomed as ``user``, that has joined ``rooms``."""
        socket = await self.websocket(f"/?username={user}")
        await socket.receive()
        for room in rooms:
            await socket.join(room)
        return socket

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | str | Mapping[str, Any] | None = None,
        /,
        **headers: str,
    ) -> Answer:
        """One HTTP request on a connection of its own."""
        return await (await self.ask(method, path, body, **headers)).answer()

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | Mapping[str, Any] | None = None,
        /,
        **headers: str,
    ) -> HTTP:
        """Send an HTTP request and wait for nothing."""
        raw = await self.raw("http")
        shown = {"Host": f"127.0.0.1:{self.ports['http']}", "Connection": "close"}
        if isinstance(body, Mapping):
            shown["Content-Type"] = "application/json"
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if body is not None:
            shown["Content-Length"] = str(len(body))
        shown |= _named(headers)
        raw.send(_head(f"{method} {path} HTTP/1.1", shown) + (body or b""))
        return HTTP(raw, method)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.request("GET", path, None, **headers)

    async def post(self, path: str, body: Any = b"", **headers: str) -> Answer:
        return await self.request("POST", path, body, **headers)

    async def events(self, path: str, **headers: str) -> EventStream:
        """An event stream; its head has come."""
        http = await self.ask("GET", path, None, **headers)
        return EventStream(http, await http.head())


class TurnedClock:
    """The real reactor, but its time can be turned forward."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._calls: list[IDelayedCall] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        return float(reactor.seconds()) + self._ahead

    def callLater(self, delay: float, call: Callable[..., Any], *a: Any, **kw: Any) -> IDelayedCall:
        made: IDelayedCall = reactor.callLater(delay, call, *a, **kw)
        self._calls = [one for one in self._calls if one.active()]
        self._calls.append(made)
        return made

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once: what falls due is called in the next turns, in order."""
        self._ahead += seconds
        for call in self._calls:
            if call.active():
                try:
                    call.delay(-seconds)
                except (AlreadyCalled, AlreadyCancelled):
                    continue


class Node(Clients):
    """A running `ChatService` and the ports it listens on."""

    def __init__(self, *options: str) -> None:
        super().__init__({})
        parsed = Options({})
        ports = [f"--{p}=tcp:0:interface=127.0.0.1" for p in ("websocket", "http", "setup")]
        parsed.parseOptions(["--broker=memory:", *ports, *options])
        self.clock = TurnedClock()
        self.service = ChatService(self.clock, parsed.config, read_again=parsed.read)
        self._stopping: Deferred[Any] | None = None

    async def start(self) -> None:
        """Return when every port is open and the rooms of ``--room`` exist."""
        before = signal.getsignal(signal.SIGHUP)
        self.service.privilegedStartService()
        self.service.startService()
        signal.signal(signal.SIGHUP, before)
        for part in self.service:
            if isinstance(part, StreamServerEndpointService):
                waiting: Any = part._waitingForPort
                self.ports[str(part.name).partition(":")[0]] = getattr(
                    waiting.result.getHost(), "port", 0
                )
        wanted = self.service._config.rooms
        directory = self.service.chat.directory
        await until(lambda: self.service.status.ready and all(map(directory.find, wanted)))

    def drain(self) -> Deferred[Any]:
        """What SIGTERM does; fires when the node has stopped."""
        if self._stopping is None:
            self._stopping = self.service.stopService()
        waiter: Deferred[Any] = Deferred()

        def stopped(result: Any) -> Any:
            waiter.callback(None)
            return result

        self._stopping.addBoth(stopped)
        return waiter

    async def stop(self) -> None:
        """Close all clients, then the node."""
        await self.hang_up()
        await self.drain()
        await until(lambda: not self.connections())

    def connections(self) -> list[Server]:
        """The node's ends of TCP connections; one that was refused lingers until it is closed."""
        open = {*reactor.getReaders(), *reactor.getWriters()}
        ports = self.ports.values()
        return [end for end in open if type(end) is Server and end.getHost().port in ports]


class ServingTests(TestCase):
    """Tests that meet running nodes."""

    def mktemp(self) -> str:
        """A path at which a file may be made; gone after the test. Not in trial's own folder."""
        folder = tempfile.mkdtemp(prefix="chatd-test-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return str(Path(folder) / "file")

    async def serve(self, *options: str) -> Node:
        """Start a node that is stopped when the test ends."""
        node = Node(*options)
        await node.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(node.stop()))
        return node


class PreparedTests(ServingTests, ABC):
    """Tests whose nodes are started before each of them."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        await self.prepare()

    @abstractmethod
    async def prepare(self) -> None:
        """Start what the tests need."""


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-").title(): value for name, value in headers.items()}


def _head(first: str, headers: Mapping[str, str]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


# -- bytes -----------------------------------------------------------------------------------------


class Raw(Protocol):
    """A TCP connection: what came is read in pieces of the test's choice."""

    transport: Any

    def __init__(self) -> None:
        #: What has come and was not taken. From a bytearray's beginning is taken without a copy of
        #: the rest, which is megabytes where a test reads small pieces.
        self.received = bytearray()
        self.lost = False
        self._waiting: list[Deferred[None]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def end(self) -> None:
        """Send nothing more, but go on reading."""
        self.transport.loseWriteConnection()

    def abort(self) -> None:
        if not self.lost:
            self.transport.abortConnection()

    async def _more(self) -> None:
        if self.lost:
            raise ConnectionError(f"closed; what had come: {bytes(self.received)!r}")
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        await waiter.addTimeout(PATIENCE, reactor)

    async def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        while len(self.received) < size:
            await self._more()
        return self._taken(size)

    def _taken(self, size: int) -> bytes:
        taken = bytes(memoryview(self.received)[:size])
        del self.received[:size]
        return taken

    async def until(self, mark: bytes) -> bytes:
        """Everything up to ``mark``, without it."""
        while (size := self.received.find(mark)) < 0:
            await self._more()
        return self._taken(size + len(mark))[:size]

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        while not self.lost:
            await self._more()
        return self._taken(len(self.received))


# -- HTTP ------------------------------------------------------------------------------------------


@frozen
class Answer:
    """An HTTP answer."""

    status: int
    headers: Headers = field(repr=False)
    body: bytes = b""
    phrase: str = ""

    def header(self, name: str) -> str | None:
        """A header's value; several of one name joined by commas."""
        values = self.headers.getRawHeaders(name)
        return ", ".join(values) if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code in the body, which must be an error as the contract shapes it."""
        error = self.json
        assert {"type", "code", "text"} <= set(error) <= {"type", "code", "text", "id", "stored"}, (
            error
        )
        assert error["type"] == "error"
        assert error["text"]
        return str(error["code"])


class HTTP:
    """One request under way."""

    def __init__(self, raw: Raw, method: str) -> None:
        self.raw = raw
        self._method = method

    async def head(self) -> Answer:
        """Status and headers."""
        first, *lines = (await self.raw.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = Headers()
        for line in lines:
            name, _, value = line.partition(":")
            headers.addRawHeader(name, value.strip())
        _, status, phrase = first.split(" ", 2)
        return Answer(int(status), headers, phrase=phrase)

    async def answer(self) -> Answer:
        """The whole answer."""
        head = await self.head()
        return Answer(head.status, head.headers, await self._body(head))

    async def _body(self, head: Answer) -> bytes:
        if self._method == "HEAD" or head.status in (204, 304):
            return await self.raw.rest()  # a body here would be a fault, and be seen
        length = head.header("content-length")
        if length is not None:
            return await self.raw.take(int(length))
        if head.header("transfer-encoding") == "chunked":
            body = b""
            while chunk := await self.chunk():
                body += chunk
            return body
        return await self.raw.rest()

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        size = int(await self.raw.until(b"\r\n"), 16)
        chunk = await self.raw.take(size)
        await self.raw.until(b"\r\n")
        return chunk


@frozen
class Event:
    """One server-sent event; ``raw`` is its data as it came."""

    name: str
    id: str | None
    raw: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.raw)


class EventStream:
    """A reader of ``text/event-stream`` (HTML standard, section 9.2)."""

    def __init__(self, http: HTTP, head: Answer) -> None:
        self.head = head
        #: Comment lines that have come.
        self.comments: list[bytes] = []
        #: What a client comes back with, and after how many milliseconds (section 9.2.6).
        self.last_id: str | None = None
        self.retry: int | None = None
        self._http = http
        self._text = b""

    async def next(self) -> Event:
        """The next event; EOFError at the end of the stream."""
        while True:
            block = await self.block()
            lines = block.split(b"\n")
            self.comments += [line for line in lines if line.startswith(b":")]
            fields = dict(line.split(b": ", 1) for line in lines if not line.startswith(b":"))
            id = fields[b"id"].decode() if b"id" in fields else None
            self.last_id = self.last_id if id is None else id
            if b"retry" in fields:
                self.retry = int(fields[b"retry"])
            if b"data" in fields:
                name = fields.get(b"event", b"message").decode()
                return Event(name, id, fields[b"data"])

    async def block(self) -> bytes:
        """The next block of lines, up to an empty one."""
        while b"\n\n" not in self._text:
            chunk = await self._http.chunk()
            if not chunk:
                raise EOFError
            self._text += chunk
        block, _, self._text = self._text.partition(b"\n\n")
        return block

    async def message(self) -> Event:
        """The next message, whatever presence is told before it."""
        while (event := await self.next()).name != "message":
            pass
        return event

    def close(self) -> None:
        self._http.raw.abort()


# -- WebSocket -------------------------------------------------------------------------------------


def welcome(user: str, **limits: int) -> dict[str, Any]:
    """What a client is greeted with, by default limits unless others are given."""
    default = {"text": 16384, "content": 65536, "frame": 131072, "rooms": 100}
    return {"type": "welcome", "user": user, "limits": default | limits}


class Closed(Exception):
    """The server closed the WebSocket."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class WebSocket:
    """A WebSocket client (RFC 6455) that can also break every rule."""

    def __init__(self, raw: Raw, answer: Answer) -> None:
        self.raw = raw
        self.answer = answer
        #: Payload of the last text frame, as it came.
        self.payload = b""

    @property
    def status(self) -> int:
        """101 if it is open, else the status of the refusal."""
        return self.answer.status

    @classmethod
    async def open(cls, raw: Raw, path: str, headers: Mapping[str, str]) -> WebSocket:
        """Shake hands. If that is refused the whole answer is in ``answer``."""
        shown = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        raw.send(_head(f"GET {path} HTTP/1.1", shown | dict(headers)))
        http = HTTP(raw, "GET")
        head = await http.head()
        if head.status != 101:
            head = Answer(head.status, head.headers, await http._body(head))
        return cls(raw, head)

    # -- frames --

    def frame(
        self, payload: bytes, opcode: int = TEXT, fin: bool = True, mask: bool = True, rsv: int = 0
    ) -> None:
        """Send one frame, well-formed or not."""
        size = len(payload)
        first = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        bit = 0x80 if mask else 0
        if size < 126:
            length = bytes([bit | size])
        elif size < 65536:
            length = bytes([bit | 126]) + size.to_bytes(2)
        else:
            length = bytes([bit | 127]) + size.to_bytes(8)
        if mask:
            key = os.urandom(4)
            masked = (
                int.from_bytes(payload) ^ int.from_bytes((key * (size // 4 + 1))[:size])
            ).to_bytes(size)
            payload = key + masked
        self.raw.send(first + length + payload)

    def send(self, value: Any) -> None:
        """Send ``value`` as JSON."""
        self.frame(json.dumps(value).encode())

    async def receive_frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. `Closed` once the server has closed."""
        first, second = await self.raw.take(2)
        assert first & 0x70 == 0, "reserved bits"
        assert second & 0x80 == 0, "a server does not mask"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.raw.take(2 if size == 126 else 8))
        return first & 0x0F, await self.raw.take(size)

    async def receive_text(self) -> str:
        """The next text; pings are answered on the way. `Closed` if the server closes."""
        while True:
            opcode, payload = await self.receive_frame()
            if opcode == TEXT:
                self.payload = payload
                return payload.decode()
            if opcode == PING:
                self.frame(payload, PONG)
            elif opcode == CLOSE:
                self.frame(payload, CLOSE)
                raise Closed(int.from_bytes(payload[:2]), payload[2:].decode())

    async def receive(self) -> dict[str, Any]:
        """The next JSON object."""
        value = json.loads(await self.receive_text())
        assert isinstance(value, dict)
        return value

    async def find(self, type: str) -> dict[str, Any]:
        """The next object of ``type``; others before it are skipped."""
        while (value := await self.receive())["type"] != type:
            pass
        return value

    async def closed(self) -> Closed:
        """How the server closes; what it says before is skipped."""
        try:
            while True:
                await self.receive_text()
        except Closed as how:
            await self.raw.rest()
            return how

    # -- what chatd.v1 says --

    async def ask(self, value: Any) -> dict[str, Any]:
        """Send ``value`` and return the next object."""
        self.send(value)
        return await self.receive()

    async def ask_for(self, type: str, value: Any) -> dict[str, Any]:
        """Send ``value`` and return the next object of ``type``."""
        self.send(value)
        return await self.find(type)

    async def join(self, room: str, **start: Any) -> dict[str, Any]:
        """Join ``room``; what is answered."""
        self.send({"type": "join", "room": room, **start})
        return await self.find("joined")

    async def say(self, room: str, text: str, **more: Any) -> str:
        """Publish; the id that is acknowledged, whenever others' messages come before it."""
        self.send({"type": "message", "room": room, "text": text, **more})
        return str((await self.find("ack"))["id"])

    async def fence(self) -> list[dict[str, Any]]:
        """All that the server has said up to now."""
        self.send({"type": "leave", "room": "fence"})
        said = []
        while (value := await self.receive()) != {"type": "left", "room": "fence"}:
            said.append(value)
        return said
