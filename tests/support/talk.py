"""WebSocket clients for tests: they talk, they hear, and they remember the order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import count
from typing import Any, cast
from urllib.parse import urlencode

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint

from tests.support.waiting import pause, until

Frame = dict[str, Any]


class Talker(WebSocketClientProtocol):
    """A ``chatd.v1`` client that says nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        #: Ids of messages, in the order they came.
        self.heard: list[str] = []
        self.open = False
        self.closed: tuple[int | None, str | None] | None = None
        self._answers: dict[str, Deferred[Frame]] = {}

    @classmethod
    async def connect(cls, address: tuple[str, int], **query: str) -> Talker:
        """Connect to a WebSocket port; return once welcome."""
        url = f"ws://{address[0]}:{address[1]}/?{urlencode(query)}"
        factory = WebSocketClientFactory(url, protocols=["chatd.v1"])
        factory.protocol = cls
        endpoint = TCP4ClientEndpoint(reactor, *address)
        talker = cast(Talker, await endpoint.connect(factory))
        await until(lambda: talker.first("welcome") or talker.closed)
        assert talker.closed is None, talker.closed
        return talker

    @classmethod
    async def join(cls, address: tuple[str, int], room: str, user: str) -> Talker:
        """Connect as ``user`` and join ``room``, which may just be being made."""
        talker = await cls.connect(address, username=user)
        deadline = time.monotonic() + 30
        while talker.first("joined") is None:
            talker.frames.clear()
            talker.send(type="join", room=room)
            await until(lambda: talker.first("joined") or talker.first("error"))
            if (error := talker.first("error")) is not None:
                assert time.monotonic() < deadline, error
                await pause(0.1)
        return talker

    def first(self, kind: str) -> Frame | None:
        """The first frame of a type, if one came."""
        return next((frame for frame in self.frames if frame["type"] == kind), None)

    def every(self, kind: str) -> list[Frame]:
        """All frames of a type so far."""
        return [frame for frame in self.frames if frame["type"] == kind]

    def send(self, **frame: Any) -> None:
        """Send a request."""
        self.sendMessage(json.dumps(frame).encode())

    async def say(self, room: str, id: str, text: str = "") -> Frame:
        """Publish a message; the answer: ``ack`` or ``error``."""
        answer: Deferred[Frame] = Deferred()
        self._answers[id] = answer
        self.send(type="message", room=room, id=id, text=text)
        return await answer

    async def leave(self) -> None:
        """Close the connection."""
        if self.closed is None:
            self.sendClose()
            await until(lambda: self.closed)

    # -- Autobahn's side ---------------------------------------------------------------------------

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        frame = json.loads(payload)
        self.frames.append(frame)
        if frame["type"] == "message":
            self.heard.append(frame["id"])
        elif frame["type"] in ("ack", "error") and frame.get("id") in self._answers:
            self._answers.pop(frame["id"]).callback(frame)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.closed = (code, reason)


class Writer:
    """Publishes one message after the other, each again with the same id until it is acknowledged,
    as the protocol tells clients to."""

    #: Seconds within which each publish must be answered, broker or no broker.
    BOUND = 20.0

    def __init__(self, talker: Talker, room: str, name: str) -> None:
        self.talker = talker
        self.acked: list[str] = []
        #: Answers other than ``ack``, by code.
        self.refused: list[str] = []
        #: The id that waits for its acknowledgement, or was the last to get it.
        self.pending = ""
        self._room = room
        self._ids = (f"{name}-{n}" for n in count())
        self._writing = False
        self.done: Deferred[None] | None = None

    def start(self) -> None:
        """Begin, or go on."""
        self._writing = True
        self.done = Deferred.fromCoroutine(self._write())

    async def stop(self) -> None:
        """Return once the last message is acknowledged."""
        self._writing = False
        if self.done is not None:
            await self.done

    def abandon(self) -> None:
        """Stop at once, whatever is under way."""
        self._writing = False
        if self.done is not None:
            self.done.addErrback(lambda failure: failure.trap(CancelledError))
            self.done.cancel()

    async def more(self, number: int = 20) -> None:
        """Return after so many more acknowledgements."""
        done = self.done
        assert done is not None
        goal = len(self.acked) + number
        await until(lambda: len(self.acked) >= goal or done.called, 60)
        if len(self.acked) < goal:
            await done

    async def _write(self) -> None:
        while self._writing:
            id = self.pending = next(self._ids)
            while (answer := await self._answer(id))["type"] != "ack":
                self.refused.append(answer["code"])
                await pause(0.05)
            self.acked.append(id)

    async def _answer(self, id: str) -> Frame:
        saying = Deferred.fromCoroutine(self.talker.say(self._room, id, f"text of {id}"))
        return await saying.addTimeout(self.BOUND, reactor, _late(id))


def _late(id: str) -> Callable[[object, float], Frame]:
    def late(_: object, seconds: float) -> Frame:
        raise AssertionError(f"{id} was not answered in {seconds} s")

    return late
