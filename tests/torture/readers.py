"""Readers that roam: over any transport, from any node, with the cursor they have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from aiohttp import ClientSession

from tests.torture import socketio
from tests.torture.clients import Client, Node, aframes, open_socket
from tests.torture.history import just_before


class Reader(Client):
    """Reads one room for ever: over any transport, from any node, with the cursor it has."""

    cursor: str | None = None
    transports: tuple[str, ...] = (
        "socket",
        "stream",
        "poll",
        "legacy_poll",
        "carried_session",
        "polled_session",
    )
    read = 0

    async def once(self, node: Node) -> None:
        how = self.random.choice(self.transports)
        seconds = self.random.uniform(1, 15)
        async with self.session() as http:
            try:
                async with asyncio.timeout(seconds):
                    await getattr(self, f"_{how}")(http, node)
            except TimeoutError:
                return  # time to roam

    def _attached(self, node: Node, transport: str, cursor: str, gap: bool) -> None:
        self.note(
            "attach",
            reader=self.name,
            room=self.room,
            node=node.name,
            transport=transport,
            after=self.cursor,
            cursor=cursor,
            gap=gap,
        )
        self.cursor = cursor

    def _got(self, node: Node, message: dict[str, Any]) -> None:
        self.note("message", reader=self.name, room=self.room, node=node.name, message=message)
        self.cursor = message["cursor"]
        self.read += 1

    def _gap(self, cursor: str) -> None:
        self.note("gap", reader=self.name, room=self.room, cursor=cursor)
        self.cursor = cursor

    async def _socket(self, http: ClientSession, node: Node) -> None:
        async with open_socket(http, node, self.name) as socket:
            join = {"type": "join", "room": self.room}
            await socket.send_json(join | ({"after": self.cursor} if self.cursor else {}))
            async for frame in aframes(socket):
                if frame["type"] == "joined":
                    self._attached(node, "socket", frame["cursor"], frame["gap"])
                elif frame["type"] == "message":
                    self._got(node, frame)
                elif frame["type"] == "gap":
                    self._gap(frame["cursor"])
                elif frame["type"] in ("error", "left"):
                    raise ConnectionError(str(frame))

    async def _carried_session(self, http: ClientSession, node: Node) -> None:
        async with socketio.carried(http, node, self.name) as session:
            await self._events(node, session, "carried_session")

    async def _polled_session(self, http: ClientSession, node: Node) -> None:
        session = await socketio.polled(http, node, self.name)
        await self._events(node, session, "polled_session")

    async def _events(self, node: Node, session: socketio.EngineTalk, how: str) -> None:
        """Join over Socket.IO, and read on."""
        join = {"type": "join", "room": self.room}
        await session.say(join | ({"after": self.cursor} if self.cursor else {}))
        async for frame in session.events():
            if frame["type"] == "joined":
                self._attached(node, how, frame["cursor"], frame["gap"])
            elif frame["type"] == "message":
                self._got(node, frame)
            elif frame["type"] == "gap":
                self._gap(frame["cursor"])
            elif frame["type"] in ("error", "left", "bye"):
                raise ConnectionError(str(frame))

    async def _stream(self, http: ClientSession, node: Node) -> None:
        headers = {"Accept": "text/event-stream"}
        headers |= {"Last-Event-ID": self.cursor} if self.cursor else {}
        async with http.get(self.url(node, "events"), headers=headers) as answer:
            if answer.status != 200:
                raise ConnectionError(str(answer.status))
            opened = False
            async for block in blocks(answer.content):
                event, cursor = block.get("event", ""), block.get("id")
                if event == "refused":
                    raise ConnectionError(block["data"])
                if not opened and cursor is not None:
                    opened = True
                    # whether there is a gap is told by an event that follows
                    gap = self.cursor is not None and cursor != self.cursor
                    self._attached(node, "stream", cursor, gap)
                if event == "gap" and cursor is not None:
                    self._gap(cursor)
                elif not event and "data" in block:
                    self._got(node, json.loads(block["data"]))

    async def _poll(self, http: ClientSession, node: Node) -> None:
        while not self.stopping:
            query = {"after": self.cursor, "wait": "5"} if self.cursor else {}
            async with http.get(self.url(node, "messages", **query)) as answer:
                self._answer(node, "poll", answer.status, await answer.json())

    async def _legacy_poll(self, http: ClientSession, node: Node) -> None:
        while not self.stopping:
            query = f"roomname={quote(self.room, safe='')}&{node.who(self.name)}&wait=5"
            query += f"&after={quote(self.cursor, safe='')}" if self.cursor else ""
            async with http.get(node.url(f"/poll?{query}")) as answer:
                self._answer(node, "legacy_poll", answer.status, await answer.json())

    def _answer(self, node: Node, how: str, status: int, said: dict[str, Any]) -> None:
        if status != 200:
            raise ConnectionError(str(said))
        messages = said["messages"]
        if self.cursor is None:
            self._attached(node, how, said["cursor"], said["gap"])
        elif said["gap"]:
            self._gap(just_before(messages[0]["cursor"]) if messages else said["cursor"])
        for message in messages:
            self._got(node, message)
        self.cursor = said["cursor"]


async def blocks(content: Any) -> AsyncIterator[dict[str, str]]:
    """The blocks of an event stream (HTML standard, section 9.2), their fields by name."""
    block: dict[str, str] = {}
    async for raw in content:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if block:
                yield block
            block = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            block[name] = value.removeprefix(" ")
    return
