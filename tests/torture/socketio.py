"""Socket.IO clients of the harness, written against the protocols alone."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from tests.torture.clients import Node

SEPARATOR = "\x1e"


def address(node: Node, transport: str, user: str) -> str:
    """Where a session's first request goes."""
    return node.url(f"/socket.io/?EIO=4&transport={transport}&{node.who(user)}")


class EngineTalk(ABC):
    """One session; it ends with `ConnectionError`, or with its events."""

    @abstractmethod
    async def send(self, packet: str) -> None:
        """Send an Engine.IO packet."""

    @abstractmethod
    def packets(self) -> AsyncIterator[str]:
        """The Engine.IO packets that come, until the session ends."""

    async def say(self, frame: dict[str, Any]) -> None:
        """Send the event called by the type of ``frame``."""
        await self.send(f"42{json.dumps([frame['type'], frame])}")

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The objects of the events that come; pings are answered meanwhile."""
        async for packet in self.packets():
            if packet == "2":
                await self.send("3")
            elif packet.startswith("42["):
                yield json.loads(packet[2:])[1]
            elif packet[:2] in ("1", "41", "44"):
                raise ConnectionError(packet)


class CarriedSession(EngineTalk):
    """Over WebSocket."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, packet: str) -> None:
        await self._socket.send_str(packet)

    async def packets(self) -> AsyncIterator[str]:
        async for frame in self._socket:
            if frame.type is not WSMsgType.TEXT:
                return
            yield frame.data


class PolledSession(EngineTalk):
    """Over polling."""

    def __init__(self, http: ClientSession, url: str, first: list[str]) -> None:
        self._http = http
        self._first = first
        self._url = f"{url}&sid={json.loads(first[0][1:])['sid']}"

    async def send(self, packet: str) -> None:
        # a str is sent as text/plain; bytes would be refused
        async with self._http.post(self._url, data=packet) as answer:
            if answer.status != 200:
                raise ConnectionError(await answer.text())

    async def packets(self) -> AsyncIterator[str]:
        while True:
            for packet in await payload(self._http, self._url):
                yield packet


async def payload(http: ClientSession, url: str) -> list[str]:
    """What a poll returns."""
    async with http.get(url) as answer:
        text = await answer.text()
        if answer.status != 200:
            raise ConnectionError(text)
        return text.split(SEPARATOR)


@asynccontextmanager
async def carried(http: ClientSession, node: Node, user: str) -> AsyncIterator[EngineTalk]:
    """A session over WebSocket, in the main namespace."""
    async with http.ws_connect(address(node, "websocket", user), max_msg_size=0) as socket:
        session = CarriedSession(socket)
        await session.send("40")
        yield session


async def polled(http: ClientSession, node: Node, user: str) -> EngineTalk:
    """A session over polling, in the main namespace."""
    url = address(node, "polling", user)
    session = PolledSession(http, url, await payload(http, url))
    await session.send("40")
    return session
