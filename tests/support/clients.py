"""Clients of a chatd that listens on 127.0.0.1, made by what they speak."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from tests.support.http_client import HTTP, Answer, EventStream
from tests.support.raw import Raw, head_of, named, reactor
from tests.support.waiting import until_of
from tests.support.ws_client import WebSocket


class Clients:
    """Makes clients of the chatd that listens on ``ports`` of 127.0.0.1: ``websocket``, ``http``
    and ``setup``."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.ports = ports
        self._made: list[Raw] = []
        #: Connections on which other requests may follow; None if each request has its own.
        self.kept: list[Raw] | None = None

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
        shown = {"Host": f"127.0.0.1:{self.ports[port]}", **named(headers)}
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
        """One HTTP request, on a connection of its own unless some are kept."""
        again = bool(self.kept)
        http = await self.ask(method, path, body, **headers)
        try:
            answer = await http.answer()
        except ConnectionError:
            if not again:
                raise
            return await self.request(method, path, body, **headers)  # it was closed meanwhile
        if self.kept is not None and method == "GET" and answer.status == 200:
            self.kept.append(http.raw)
        return answer

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | Mapping[str, Any] | None = None,
        /,
        **headers: str,
    ) -> HTTP:
        """Send an HTTP request and wait for nothing."""
        kept = self.kept if method == "GET" else None
        raw = kept.pop() if kept else await self.raw("http")
        shown = {"Host": f"127.0.0.1:{self.ports['http']}"}
        shown["Connection"] = "close" if kept is None else "keep-alive"
        if isinstance(body, Mapping):
            shown["Content-Type"] = "application/json"
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if body is not None:
            shown["Content-Length"] = str(len(body))
        shown |= named(headers)
        raw.send(head_of(f"{method} {path} HTTP/1.1", shown) + (body or b""))
        return HTTP(raw, method)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.request("GET", path, None, **headers)

    async def post(self, path: str, body: Any = b"", **headers: str) -> Answer:
        return await self.request("POST", path, body, **headers)

    async def events(self, path: str, **headers: str) -> EventStream:
        """An event stream; its head has come."""
        http = await self.ask("GET", path, None, **headers)
        return EventStream(http, await http.head())
