"""A WebSocket client (RFC 6455) that speaks ``chatd.v1``, and can break every rule."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any

from tests.support.http_client import HTTP, Answer
from tests.support.raw import Raw, head_of

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


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
        raw.send(head_of(f"GET {path} HTTP/1.1", shown | dict(headers)))
        http = HTTP(raw, "GET")
        head = await http.head()
        if head.status != 101:
            head = Answer(head.status, head.headers, await http.body(head))
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
