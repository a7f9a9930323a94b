"""Writers: each message again, under its id, until it is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession

from tests.torture import socketio
from tests.torture.clients import ANSWER, Client, Node, aframes, anext_of, open_socket
from tests.torture.history import outcome


class Writer(Client):
    """Publishes one message after the other, each again under its id until it is acknowledged."""

    number = 0
    #: The message under way, and the cursor up to which its sender had read when it was first sent.
    pending: str | None = None
    after: str | None = None
    acknowledged = 0
    #: When the message under way was first sent, and the longest that one has waited, in seconds.
    began = 0.0
    longest = 0.0
    pause = 0.02

    def next(self, read: str | None) -> dict[str, Any]:
        """What to send now: the message under way again, or the next one."""
        again = self.pending is not None
        if not again:
            self.pending = f"{self.name}-{self.number}"
            self.number += 1
            self.after = read
            self.began = time.monotonic()
        request: dict[str, Any] = {"id": self.pending, "text": f"text of {self.pending}"}
        if again and self.after is not None:
            request["after"] = self.after
        return request

    def sent(self, node: Node, connection: str) -> None:
        """An attempt begins."""
        self.note("publish", **self._about(node), connection=connection)

    def answered(self, node: Node, result: str) -> None:
        """An attempt ended: ``stored``, ``unknown`` or ``refused``."""
        self.note("answer", **self._about(node), result=result)
        if result == "stored":
            self.pending = None
            self.acknowledged += 1
            self.longest = max(self.longest, time.monotonic() - self.began)

    def _about(self, node: Node) -> dict[str, Any]:
        return {"room": self.room, "user": self.name, "id": self.pending, "node": node.name}


Send = Callable[[dict[str, Any]], Awaitable[None]]
Exchange = tuple[Send, AsyncIterator[dict[str, Any]]]


class SocketWriter(Writer):
    """Publishes over WebSocket, and reads meanwhile."""

    connections = 0
    #: Messages that are under way together.
    together = 1

    @asynccontextmanager
    async def talk(self, http: ClientSession, node: Node) -> AsyncIterator[Exchange]:
        """A connection: how to send an object, and the objects that come."""
        async with open_socket(http, node, self.name) as socket:
            yield socket.send_json, aframes(socket)

    async def once(self, node: Node) -> None:
        self.connections += 1
        connection = f"{self.name}/{self.connections}"
        async with self.session() as http, self.talk(http, node) as (send, frames):
            await send({"type": "join", "room": self.room})
            read = (await anext_of(frames, ("joined",)))["cursor"]
            until = asyncio.get_running_loop().time() + self.random.uniform(2, 20)
            while not self.stopping and asyncio.get_running_loop().time() < until:
                read = await self.publish(node, connection, send, frames, read)
                await asyncio.sleep(self.random.uniform(0, 2 * self.together * self.pause))

    async def publish(
        self,
        node: Node,
        connection: str,
        send: Send,
        frames: AsyncIterator[dict[str, Any]],
        read: str,
    ) -> str:
        """Send, and read on to the answer of each; returns the newest cursor read."""
        request = self.next(read)
        self.sent(node, connection)
        result = "unknown"
        try:
            await send({"type": "message", "room": self.room, **request})
            async with asyncio.timeout(ANSWER):
                async for frame in frames:
                    if frame["type"] == "message":
                        read = frame["cursor"]
                    elif frame.get("id") == request["id"] and frame["type"] in ("ack", "error"):
                        result = "stored" if frame["type"] == "ack" else outcome(frame)
                        break
                else:
                    raise ConnectionError("closed")
        finally:
            self.answered(node, result)
        return read


class SessionWriter(SocketWriter):
    """The same over Socket.IO, by polling or by WebSocket."""

    @asynccontextmanager
    async def talk(self, http: ClientSession, node: Node) -> AsyncIterator[Exchange]:
        if self.random.random() < 0.5:
            async with socketio.carried(http, node, self.name) as session:
                yield session.say, session.events()
        else:
            session = await socketio.polled(http, node, self.name)
            yield session.say, session.events()


class RequestWriter(Writer):
    """Publishes over HTTP."""

    async def once(self, node: Node) -> None:
        async with self.session() as http:
            async with http.get(self.url(node, "messages")) as answer:
                read = (await answer.json())["cursor"] if answer.status == 200 else None
            request = self.next(read)
            self.sent(node, f"{self.name}/{self.random.random()}")
            result = "unknown"
            try:
                async with asyncio.timeout(ANSWER):
                    async with http.post(self.url(node, "messages"), json=request) as answer:
                        said = await answer.json()
                        result = "stored" if answer.status in (200, 201) else outcome(said)
            finally:
                self.answered(node, result)
        await asyncio.sleep(self.random.uniform(0, 2 * self.pause))
