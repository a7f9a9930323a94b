"""The streams in memory: what the nodes that share them ask is done at the end of each turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatd.brokers.interfaces import (
    DIRECTORY,
    Extent,
    NoSuchStream,
    Record,
    Retention,
    Stream,
    Unavailable,
)
from chatd.brokers.memory.log import MemoryLog
from chatd.timing.wall import WallClock

T = TypeVar("T")

#: Events that `World.announced` keeps.
ANNOUNCED = 1000


class Node(Protocol):
    """The broker of one node, as the world knows it."""

    @property
    def ready(self) -> bool:
        """Whether it is here."""

    def advance(self, stream: Stream, log: MemoryLog | None, now: Callable[[], int]) -> None:
        """Feed its followers of ``stream`` from ``log``, None if there is no such stream. ``now``
        returns the time (milliseconds since the epoch) from which retention counts back."""

    def hear(self, payload: bytes) -> None:
        """Pass what a node has broadcast to who listens here."""


class World:
    """The streams, and the brokers (one for each node) that share them."""

    def __init__(
        self, wall: WallClock, clock: IReactorTime, retention: Retention, skip: int
    ) -> None:
        self.clock = clock
        self._wall = wall
        self.nodes: list[Node] = []
        self.announced: deque[tuple[str, str, bytes]] = deque(maxlen=ANNOUNCED)
        self._retention = retention
        self._skip = skip
        self._logs: dict[str, MemoryLog] = {}
        self._changed: dict[Stream, None] = {}  # an ordered set
        self._work: list[tuple[Node, Callable[[], Any], Deferred[Any]]] = []
        self._turn: IDelayedCall | None = None

    def submit(self, node: Node, work: Callable[[], T]) -> Deferred[T]:
        """Do ``work`` for ``node`` at the end of this turn."""
        done: Deferred[T] = Deferred()
        self._work.append((node, work, done))
        self._end_turn()
        return done

    def withdraw(self, node: Node, stored: bool) -> None:
        """Fail the work of ``node``, which goes away; with ``stored``, do it all the same."""
        mine = [entry for entry in self._work if entry[0] is node]
        self._work = [entry for entry in self._work if entry[0] is not node]
        if stored:
            for _, work, done in mine:
                _do(work, done)
        for _, _, done in mine:
            done.errback(Unavailable("the broker went away"))
        if not any(other.ready for other in self.nodes):
            self._cancel_turn()

    def wake(self, *changed: Stream) -> None:
        """Feed the followers of the ``changed`` streams at the end of this turn."""
        self._changed.update(dict.fromkeys(changed))
        if any(node.ready for node in self.nodes):
            self._end_turn()

    def _end_turn(self) -> None:
        if self._turn is None:
            self._turn = self.clock.callLater(0, self.flush)

    def flush(self) -> None:
        """End the turn: do the work, then feed followers, then fire the Deferreds."""
        self._cancel_turn()
        work, self._work = self._work, []
        told = [_do(do, done) for _, do, done in work]
        changed, self._changed = self._changed, {}
        for stream in changed:
            log = self._logs.get(stream.name)
            for node in self.nodes:
                node.advance(stream, log, self._now)
            if log is not None:
                log.trim_size()
        for tell in told:
            tell()

    def _cancel_turn(self) -> None:
        if self._turn is not None and self._turn.active():
            self._turn.cancel()
        self._turn = None

    # -- the work itself

    def log(self, stream: Stream) -> MemoryLog:
        log = self._logs.get(stream.name)
        if log is None:
            raise NoSuchStream(stream.name)
        return log

    def append(self, stream: Stream, body: bytes, time: int, foreign: bool = False) -> None:
        self.log(stream).append(body, time, foreign)
        self._changed[stream] = None

    def create(self, stream: Stream) -> None:
        if stream.name not in self._logs:
            exempt = stream == DIRECTORY
            self._logs[stream.name] = MemoryLog(None if exempt else self._retention, self._skip)

    def delete(self, stream: Stream) -> None:
        log = self._logs.pop(stream.name, None)
        if log is not None:
            log.deleted = True
            self._changed[stream] = None

    def read(self, stream: Stream, start: int, stop: int) -> list[Record]:
        return self.log(stream).since(start, stop, self._now())

    def locate(self, stream: Stream, time: int) -> int:
        log = self.log(stream)
        log.trim_age(self._now())
        place = log.at_time(time)
        return log.entries[place].record.offset if place < len(log.entries) else log.last + 1

    def extent(self, stream: Stream) -> Extent | None:
        log = self._logs.get(stream.name)
        if log is None:
            return None
        return Extent(len(log.entries), log.size, log.latest)

    def _now(self) -> int:
        """The time (milliseconds since the epoch) from which retention counts back."""
        age = self._retention.age
        return self._wall.oldest(age) + age * 1000


def _do(work: Callable[[], Any], done: Deferred[Any]) -> Callable[[], None]:
    try:
        return partial(done.callback, work())
    except NoSuchStream as e:
        return partial(done.errback, e)
