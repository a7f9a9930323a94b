"""TCP connections of tests: what has come is read in pieces of the test's choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

reactor: Any = _reactor

#: Seconds a client waits for what must come, on a busy machine.
PATIENCE = 60.0


class Raw(Protocol):
    """A TCP connection: what came is read in pieces of the test's choice."""

    transport: Any

    def __init__(self) -> None:
        #: What has come and was not taken. From a bytearray's beginning is taken without a copy of
        #: the rest, which is megabytes where a test reads small pieces.
        self.received = bytearray()
        self.lost = False
        #: Why it was lost.
        self.why = connectionDone
        self._waiting: list[Deferred[None]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost, self.why = True, reason
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


def named(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that keyword arguments name: ``x_y`` for ``X-Y``."""
    return {name.replace("_", "-").title(): value for name, value in headers.items()}


def head_of(first: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request, from its first line to the empty one."""
    lines = [first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
