"""A broker under test: what its test module says of it, and what all suites ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import NoSuchStream, Record, Retention, Stream, Unavailable
from tests.support.recording import Recorder, body, now
from tests.support.waiting import until

_numbers = count()


class BrokerCase(TestCase, ABC):
    """What derives from it sets ``__test__ = True`` and fills the hooks in."""

    __test__ = False
    timeout = 60

    # -- hooks

    @abstractmethod
    async def make_broker(self, retention: Retention | None = None) -> Any:
        """A started and ready broker without any streams, removed by a cleanup."""

    @abstractmethod
    async def interrupt(self, broker: Any) -> None:
        """Make ``broker`` go away until `resume`."""

    @abstractmethod
    async def resume(self, broker: Any) -> None:
        """Let ``broker`` come back; need not wait until it has."""

    @abstractmethod
    async def elsewhere(self, broker: Any) -> Any:
        """A ready broker of another node on the same streams, used while ``broker`` is away and
        put away by `leave` before it comes back."""

    @abstractmethod
    async def leave(self, other: Any) -> None:
        """Put away what `elsewhere` made."""

    @abstractmethod
    async def truncate(self, other: Any, stream: Stream, before: int) -> None:
        """Have retention remove at least the record at ``before - 1`` and all before it, but not
        the newest one. ``other`` was made by `elsewhere`."""

    # -- helpers

    def stream(self) -> Stream:
        return Stream(f"room-{next(_numbers)}", uuid4().hex[:12])

    async def created(self, broker: Any) -> Stream:
        """A stream that is ready for use."""
        stream = self.stream()
        await broker.create(stream)
        await broker.open(stream)
        return stream

    async def assert_gone(self, broker: Any, ask: Callable[[], Deferred[Any]]) -> None:
        """``ask()`` fails with `NoSuchStream`, now or once ``broker`` has come back: RabbitMQ may
        end a connection over which a stream is read that is deleted."""
        while True:
            try:
                await ask()
            except NoSuchStream:
                return
            except Unavailable:
                await until(lambda: broker.ready)
            else:
                self.fail("it is there")

    def append(self, broker: Any, stream: Stream, id: str, text: str = "hello") -> Deferred[None]:
        at = now()
        appended: Deferred[None] = broker.append(stream, body(id, text, at), id, at)
        return appended

    async def fill(self, broker: Any, stream: Stream, first: int, stop: int) -> None:
        """Append messages ``m<first>`` up to, not including, ``m<stop>``."""
        await gatherResults(
            [self.append(broker, stream, f"m{n}") for n in range(first, stop)], consumeErrors=True
        )

    def follow(
        self, broker: Any, stream: Stream, tail: int | None = None, stop_in: str | None = None
    ) -> Recorder:
        recorder = Recorder()
        recorder.stop_in = stop_in
        recorder.following = broker.follow(stream, tail, recorder)
        recorder.may_call = True
        self.addCleanup(recorder.following.stop)
        return recorder

    async def followed(self, broker: Any, stream: Stream, tail: int | None = None) -> Recorder:
        recorder = self.follow(broker, stream, tail)
        await until(lambda: recorder.ends)
        return recorder

    async def all_of(self, broker: Any, stream: Stream) -> list[Record]:
        records: Sequence[Record] = await broker.read(stream, 0, 1_000_000)
        return list(records)
