"""Reading a room over each transport, from a start, and again from where one was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from chatd.protocol.cursors import Cursor
from tests.support.engine import PollingClient, SocketClient
from tests.support.http_client import EventStream
from tests.support.serving import Node
from tests.support.ws_client import WebSocket

GAP = "GAP"
#: What a start says: ``after``, ``last`` or ``since``, or nothing.
Start = dict[str, Any]


class Refused(Exception):
    """The server refused to start there; the code."""


class Reading(Protocol):
    """One who reads a room."""

    #: The newest cursor it was given.
    cursor: str

    async def next(self) -> str:
        """The text of the next message, or `GAP`."""

    async def close(self) -> None:
        """Go away."""


class SocketReading:
    """``chatd.v1``; the connection stays when the reading ends."""

    def __init__(self, socket: WebSocket, cursor: str, gap: bool) -> None:
        self.socket = socket
        self.raw = socket.raw
        self.cursor = cursor
        self._gap = gap

    @classmethod
    async def open(cls, node: Node, room: str, start: Start) -> SocketReading:
        return await cls.join(await node.chat("wanda"), room, start)

    @classmethod
    async def join(cls, socket: WebSocket, room: str, start: Start) -> SocketReading:
        socket.send({"type": "join", "room": room, **start})
        while (answer := await socket.receive())["type"] not in ("joined", "error"):
            pass
        if answer["type"] == "error":
            raise Refused(answer["code"])
        return cls(socket, answer["cursor"], answer["gap"])

    async def next(self) -> str:
        if self._gap:
            self._gap = False
            return GAP
        while (frame := await self.socket.receive())["type"] not in ("message", "gap"):
            pass
        self.cursor = frame["cursor"]
        return str(frame["text"]) if frame["type"] == "message" else GAP

    async def close(self) -> None:
        self.socket.send({"type": "leave", "room": json.loads(self.socket.payload)["room"]})
        await self.socket.find("left")


class EventReading:
    """Server-sent events."""

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream
        self.raw = stream._http.raw
        self.cursor = ""

    @classmethod
    async def open(cls, node: Node, room: str, start: Start) -> EventReading:
        path, headers = f"/rooms/{room}/events?username=eve", {}
        if "after" in start:
            headers["last_event_id"] = start["after"]  # as a browser that reconnects
        if start.get("after") == "":
            path, headers = f"{path}&after=", {}  # an empty header means that there is none
        if start and "after" not in start:
            path += f"&{urlencode(start)}"
        stream = await node.events(path, **headers)
        if stream.head.status != 200:
            answer = await node.get(path, **headers)
            raise Refused(answer.code)
        await stream.block()
        return cls(stream)

    async def next(self) -> str:
        while (event := await self.stream.next()).name not in ("message", "gap"):
            pass
        self.cursor = event.data["cursor"]
        return str(event.data["text"]) if event.name == "message" else GAP

    async def close(self) -> None:
        self.stream.close()


class PollReading:
    """Long-poll with a cursor, ``limit`` messages an answer."""

    def __init__(self, node: Node, room: str, limit: int = 100) -> None:
        self.cursor = ""
        self._node = node
        self._path = f"/rooms/{room}/messages?username=paul&limit={limit}"
        self._got: list[tuple[str, str]] = []
        self._after = ""

    @classmethod
    async def open(cls, node: Node, room: str, start: Start) -> PollReading:
        reading = cls(node, room)
        await reading.ask(start)
        reading.cursor = reading._got[0][1] if reading._got else reading._after
        return reading

    async def ask(self, query: Start) -> None:
        answer = await self._node.get(f"{self._path}&{urlencode(query)}")
        if answer.status != 200:
            raise Refused(answer.code)
        body = answer.json
        self._after = body["cursor"]
        messages = body["messages"]
        first = Cursor.parse(messages[0]["cursor"] if messages else body["cursor"])
        if body["gap"]:
            self._got.append((GAP, f"{first.epoch}:{first.offset - 1}"))
        self._got += [(m["text"], m["cursor"]) for m in messages]

    async def next(self) -> str:
        while not self._got:
            await self.ask({"after": self._after, "wait": 20})
        text, self.cursor = self._got.pop(0)
        return text

    async def close(self) -> None:
        pass


class SessionReading:
    """Socket.IO over polling, or over WebSocket."""

    kind: Any

    def __init__(self, client: Any, room: str, joined: dict[str, Any]) -> None:
        self.cursor = joined["cursor"]
        self._client = client
        self._room = room
        self._gap = joined["gap"]

    @classmethod
    async def open(cls, node: Node, room: str, start: Start) -> SessionReading:
        client = await cls.kind.open(node, username="sid")
        await client.connect()
        answer = await client.ask("join", {"room": room, **start})
        if answer["type"] == "error":
            raise Refused(answer["code"])
        return cls(client, room, answer)

    async def next(self) -> str:
        if self._gap:
            self._gap = False
            return GAP
        while (frame := await self._client.event())["type"] not in ("message", "gap"):
            pass
        self.cursor = frame["cursor"]
        return str(frame["text"]) if frame["type"] == "message" else GAP

    async def close(self) -> None:
        await self._client.ask("leave", {"room": self._room})


class PollingReading(SessionReading):
    kind = PollingClient


class CarriedReading(SessionReading):
    kind = SocketClient

    @property
    def raw(self) -> Any:
        """The connection."""
        return self._client.socket.raw


TRANSPORTS: Sequence[Any] = (
    SocketReading,
    EventReading,
    PollReading,
    PollingReading,
    CarriedReading,
)
#: Those that are sent what comes unasked.
STREAMING = (SocketReading, EventReading, CarriedReading)


def names(start: int, stop: int) -> list[str]:
    return [f"m{n}" for n in range(start, stop)]
