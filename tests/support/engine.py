"""A Socket.IO client that says what it is told to, right or wrong, over polling or WebSocket.

::

    client = await PollingClient.open(node, username="ann")
    await client.connect()
    joined = await client.ask("join", {"room": "lobby"})
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import urlencode

from tests.support.clients import Clients
from tests.support.http_client import Answer
from tests.support.ws_client import Closed, WebSocket

PATH = "/socket.io/"
SEPARATOR = "\x1e"


def path(transport: str, **query: str) -> str:
    """The path of a request, and its query."""
    return f"{PATH}?{urlencode({'EIO': '4', 'transport': transport, **query})}"


class EngineClient(ABC):
    """What both transports have in common: packets, and Socket.IO above them."""

    def __init__(self) -> None:
        self.handshake: dict[str, Any] = {}
        #: The last message event's object, as it came.
        self.raw = b""
        self._ids = 0

    async def packet(self) -> str:
        """The next Engine.IO packet but pings, which are answered."""
        while (packet := await self.receive()) == "2":
            await self.send("3")
        return packet

    @abstractmethod
    async def receive(self) -> str:
        """The next Engine.IO packet."""

    @abstractmethod
    async def send(self, *packets: str) -> None:
        """Send Engine.IO packets."""

    async def connect(self, **auth: Any) -> str:
        """Join the main namespace; who one is then."""
        await self.send("40" + json.dumps(auth) if auth else "40")
        answer = await self.packet()
        assert answer.startswith('40{"sid":"'), answer
        return str((await self.find("welcome"))["user"])

    async def emit(self, name: str, *arguments: Any) -> None:
        """Send an event without a callback."""
        await self.send(f"42{json.dumps([name, *arguments])}")

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Send an event with a callback; what that is called with, once it is: None for nothing.
        Events before it are skipped."""
        self._ids += 1
        await self.send(f"42{self._ids}{json.dumps([name, *arguments])}")
        mark = f"43{self._ids}["
        while not (packet := await self.packet()).startswith(mark):
            pass
        said = json.loads(packet.removeprefix(mark[:-1]))
        return said[0] if said else None

    async def event(self) -> dict[str, Any]:
        """The object of the next event, whose name is its type."""
        while not (packet := await self.packet()).startswith("42["):
            pass
        name, frame = json.loads(packet[2:])
        assert frame["type"] == name, packet
        self.raw = packet[len(f'42["{name}",') : -1].encode()
        assert isinstance(frame, dict)
        return frame

    async def find(self, name: str) -> dict[str, Any]:
        """The object of the next event called ``name``."""
        while (frame := await self.event())["type"] != name:
            pass
        return frame


class SocketClient(EngineClient):
    """Over WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        super().__init__()
        self.socket = socket

    @classmethod
    async def open(cls, node: Clients, **query: str) -> SocketClient:
        """A session of its own."""
        client = cls(await node.websocket(path("websocket", **query), "http", None))
        opening = await client.receive()
        assert opening[0] == "0", opening
        client.handshake = json.loads(opening[1:])
        return client

    async def receive(self) -> str:
        return await self.socket.receive_text()

    async def send(self, *packets: str) -> None:
        for packet in packets:
            self.socket.frame(packet.encode())

    async def closed(self) -> Closed:
        """How the server closes."""
        return await self.socket.closed()


class PollingClient(EngineClient):
    """Over polling."""

    def __init__(self, node: Clients, handshake: dict[str, Any]) -> None:
        super().__init__()
        self.node = node
        self.handshake = handshake
        self.sid = str(handshake["sid"])
        self._packets: list[str] = []

    @classmethod
    async def open(cls, node: Clients, **query: str) -> PollingClient:
        """A session of its own."""
        answer = await node.get(path("polling", **query))
        assert (answer.status, answer.body[:1]) == (200, b"0"), answer
        return cls(node, json.loads(answer.body[1:]))

    @property
    def path(self) -> str:
        """The path of this session's requests."""
        return path("polling", sid=self.sid)

    async def poll(self) -> Answer:
        """One poll."""
        return await self.node.get(self.path)

    async def post(self, body: bytes | str, **headers: str) -> Answer:
        """One post."""
        shown = {"content_type": "text/plain;charset=UTF-8", **headers}
        return await self.node.post(self.path, body, **shown)

    async def receive(self) -> str:
        while not self._packets:
            answer = await self.poll()
            if answer.status != 200:
                raise EOFError(answer)
            self._packets = answer.body.decode().split(SEPARATOR)
        return self._packets.pop(0)

    async def send(self, *packets: str) -> None:
        answer = await self.post(SEPARATOR.join(packets))
        assert (answer.status, answer.body) == (200, b"ok"), answer

    async def upgrade(self) -> SocketClient:
        """Go on over WebSocket, as stock clients do."""
        socket = await self.probe()
        await socket.send("5")
        socket._ids = self._ids
        return socket

    async def probe(self) -> SocketClient:
        """A WebSocket that may take the session over, and was told so."""
        raw = await self.node.websocket(path("websocket", sid=self.sid), "http", None)
        assert raw.status == 101, raw.answer
        socket = SocketClient(raw)
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        return socket


#: Over each transport, and over both in turn.
CLIENTS: tuple[Any, ...] = (PollingClient, SocketClient)
