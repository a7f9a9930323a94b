"""Clients written against the contract alone.

They run on asyncio with aiohttp, which shares no code with chatd. Every request, answer and message
is noted in the history.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWebSocketResponse, WSMsgType

from tests.torture.history import Recorder

#: Seconds within which a publish must be answered, whatever is broken.
ANSWER = 20.0
#: Seconds a client waits before it tries again.
AGAIN = 0.2
#: What ends a session: the node is away, or said that it cannot.
TROUBLE = (ClientError, OSError, asyncio.TimeoutError, ConnectionError, json.JSONDecodeError)


class Node(Protocol):
    """Where clients find a node."""

    name: str

    def url(self, path: str = "/") -> str:
        """The HTTP address of ``path``."""

    def who(self, user: str) -> str:
        """The part of a query that says, or shows, who one is."""


class Client:
    """Somebody with a name, a choice of nodes, and a history that remembers."""

    def __init__(
        self, name: str, room: str, nodes: Sequence[Node], recorder: Recorder, seed: int
    ) -> None:
        self.name = name
        self.room = room
        self.nodes = nodes
        self.note = recorder.note
        self.random = random.Random(f"{seed}-{name}")
        self.stopping = False
        #: How often it has connected.
        self.sessions = 0

    def session(self) -> ClientSession:
        """A new HTTP session, which no proxy of the environment is asked for."""
        return ClientSession(timeout=ClientTimeout(total=None, sock_connect=5), trust_env=False)

    def url(self, node: Node, rest: str, **query: str) -> str:
        """The address of a path of the room's."""
        pairs = (f"{key}={quote(value, safe='')}" for key, value in query.items())
        text = "&".join([node.who(self.name), *pairs])
        return node.url(f"/rooms/{quote(self.room, safe='')}/{rest}?{text}")

    async def run(self) -> None:
        """Be a client until told to stop."""
        while not self.stopping:
            self.sessions += 1
            try:
                await self.once(self.random.choice(self.nodes))
            except TROUBLE:
                await asyncio.sleep(AGAIN)

    async def once(self, node: Node) -> None:
        """One session with one node."""
        raise AssertionError("what a client does is said by its class")


def open_socket(http: ClientSession, node: Node, user: str) -> Any:
    """A chatd.v1 connection, to be used with ``async with``."""
    url = node.url(f"/ws?{node.who(user)}")
    return http.ws_connect(url, protocols=["chatd.v1"], max_msg_size=0)


async def aframes(socket: ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    """The objects that come, until the connection ends."""
    async for frame in socket:
        if frame.type is not WSMsgType.TEXT:
            return
        yield json.loads(frame.data)


async def anext_of(frames: AsyncIterator[dict[str, Any]], kinds: Sequence[str]) -> dict[str, Any]:
    """The next frame of one of ``kinds``."""
    async with asyncio.timeout(ANSWER):
        async for frame in frames:
            if frame["type"] in kinds:
                return frame
            if frame["type"] == "error":
                raise ConnectionError(str(frame))
    raise ConnectionError("closed")
