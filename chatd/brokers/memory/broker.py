"""The broker in memory, for tests and for trying out.

All that is asked in one turn of the reactor takes effect at the end of the turn; with a
`task.Clock`, a test decides when that is. Several nodes of a test may share one `MemoryBroker`, or
each have a `MemoryBroker.peer` on the same streams, which can be interrupted on its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from chatd.brokers.interfaces import (
    DIRECTORY,
    Extent,
    IBroker,
    IFollower,
    IFollowing,
    NoSuchStream,
    NotStored,
    Record,
    Retention,
    Stream,
    Unavailable,
)
from chatd.brokers.local_fanout import LocalFanout
from chatd.brokers.memory.log import FollowingState, Log, MemoryFollowing
from chatd.timing.wall import WallClock

T = TypeVar("T")

#: Events that `MemoryBroker.announced` keeps.
ANNOUNCED = 1000


class _World:
    """The streams, and the brokers (one for each node) that share them."""

    def __init__(
        self, wall: WallClock, clock: IReactorTime, retention: Retention, skip: int
    ) -> None:
        self.clock = clock
        self._wall = wall
        self.nodes: list[MemoryBroker] = []
        self.announced: deque[tuple[str, str, bytes]] = deque(maxlen=ANNOUNCED)
        self._retention = retention
        self._skip = skip
        self._logs: dict[str, Log] = {}
        self._changed: dict[Stream, None] = {}  # an ordered set
        self._work: list[tuple[MemoryBroker, Callable[[], Any], Deferred[Any]]] = []
        self._turn: IDelayedCall | None = None

    def submit(self, node: MemoryBroker, work: Callable[[], T]) -> Deferred[T]:
        """Do ``work`` for ``node`` at the end of this turn."""
        done: Deferred[T] = Deferred()
        self._work.append((node, work, done))
        self.wake()
        return done

    def withdraw(self, node: MemoryBroker, stored: bool) -> None:
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
        if self._turn is None and any(node.ready for node in self.nodes):
            self._turn = self.clock.callLater(0, self.flush)

    def flush(self) -> None:
        """End the turn: do the work, then feed followers, then fire the Deferreds."""
        self._cancel_turn()
        work, self._work = self._work, []
        told = [_do(do, done) for _, do, done in work]
        changed, self._changed = self._changed, {}
        now = self._now()
        for stream in changed:
            log = self._logs.get(stream.name)
            for node in self.nodes:
                node.advance(stream, log, now)
            if log is not None:
                log.trim_size()
        for tell in told:
            tell()

    def _cancel_turn(self) -> None:
        if self._turn is not None and self._turn.active():
            self._turn.cancel()
        self._turn = None

    # -- the work itself

    def log(self, stream: Stream) -> Log:
        log = self._logs.get(stream.name)
        if log is None:
            raise NoSuchStream(stream.name)
        return log

    def append(self, stream: Stream, body: bytes, time: int) -> None:
        self.log(stream).append(body, time)
        self._changed[stream] = None

    def create(self, stream: Stream) -> None:
        if stream.name not in self._logs:
            exempt = stream == DIRECTORY
            self._logs[stream.name] = Log(None if exempt else self._retention, self._skip)

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
        entries = log.entries
        return Extent(len(entries), log.size, entries[-1].latest if entries else 0)

    def _now(self) -> int:
        """The time (milliseconds since the epoch) from which retention counts back."""
        age = self._retention.age
        return self._wall.oldest(age) + age * 1000


def _do(work: Callable[[], Any], done: Deferred[Any]) -> Callable[[], None]:
    try:
        return partial(done.callback, work())
    except NoSuchStream as e:
        return partial(done.errback, e)


@implementer(IBroker, IService)
class MemoryBroker(LocalFanout, Service):
    """Streams in this process's memory.

    ``skip``: leave out an offset after every ``skip`` records, as RabbitMQ does now and then.
    """

    name = "broker"
    exact = True
    restored = False
    blocked = ""

    def __init__(
        self,
        clock: IReactorTime,
        retention: Retention | None = None,
        skip: int = 0,
        world: _World | None = None,
        wall: WallClock | None = None,
    ) -> None:
        super().__init__(clock)
        self._world = world or _World(
            wall or WallClock(clock), clock, retention or Retention(), skip
        )
        self._world.nodes.append(self)
        self._away = False
        self._followings: dict[Stream, list[MemoryFollowing]] = {}

    # -- service and test hooks

    @property
    def ready(self) -> bool:
        return bool(self.running) and not self._away

    @property
    def announced(self) -> Sequence[tuple[str, str, bytes]]:
        """The newest events that any node has announced, as (event, room, body)."""
        return list(self._world.announced)

    def startService(self) -> None:
        super().startService()
        self._world.wake(*self._followings)

    def stopService(self) -> None:
        if self.ready:
            self._world.flush()
        super().stopService()
        self._leave(stored=False)

    def peer(self) -> MemoryBroker:
        """A broker for another node, on the same streams. It must be started, too."""
        return MemoryBroker(self._clock, world=self._world)

    def interrupt(self, stored: bool = False) -> None:
        """Be away until `resume`. Work that waits fails; with ``stored``, it is done all the
        same."""
        self._away = True
        self._leave(stored)

    def resume(self) -> None:
        """Be back: followers continue after the last record passed."""
        self._away = False
        self._world.wake(*self._followings)

    def store(self, stream: Stream, body: bytes, time: int) -> None:
        """Append a record as another program would, even while this broker is away."""
        self._world.append(stream, body, time)
        self._world.wake()

    def truncate(self, stream: Stream, before: int) -> None:
        """Remove the records before the offset ``before``, as retention would."""
        log = self._world.log(stream)
        log.drop(log.at_offset(before))

    # -- IBroker

    def figures(self) -> Mapping[str, tuple[str, float]]:
        return {}

    def restoration_told(self) -> None:
        """Does nothing: there is no backup."""

    def create(self, stream: Stream) -> Deferred[None]:
        return self._submit(lambda: self._world.create(stream))

    def open(self, stream: Stream) -> Deferred[None]:
        return self.end(stream).addCallback(lambda _: None)

    def delete(self, stream: Stream) -> Deferred[None]:
        return self._submit(lambda: self._world.delete(stream))

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        return self._submit(lambda: self._world.append(stream, body, time))

    def distrust(self, stream: Stream, since: float) -> Deferred[None]:
        return succeed(None)

    def follow(self, stream: Stream, tail: int | None, follower: IFollower) -> IFollowing:
        following = MemoryFollowing(stream, tail, follower, self._forget, self._world.wake)
        self._followings.setdefault(stream, []).append(following)
        self._world.wake(stream)
        return following

    def read(self, stream: Stream, start: int, stop: int) -> Deferred[Sequence[Record]]:
        return self._submit(lambda: self._world.read(stream, start, stop))

    def locate(self, stream: Stream, time: int) -> Deferred[int]:
        return self._submit(lambda: self._world.locate(stream, time))

    def end(self, stream: Stream) -> Deferred[int]:
        return self._submit(lambda: self._world.log(stream).last)

    def extents(self, streams: Sequence[Stream]) -> Deferred[Sequence[Extent | None]]:
        return self._submit(lambda: [self._world.extent(stream) for stream in streams])

    def announce(self, event: str, room: str, body: bytes) -> None:
        if self.ready:
            self._world.announced.append((event, room, body))

    def broadcast(self, payload: bytes) -> None:
        if self.ready:
            for node in self._world.nodes:
                if node.ready:
                    LocalFanout.broadcast(node, payload)

    # -- followers

    def advance(self, stream: Stream, log: Log | None, now: int) -> None:
        """Feed this node's followers of ``stream``."""
        for following in list(self._followings.get(stream, ())):
            if following.state is not FollowingState.STOPPED and self.ready:
                following.advance(log, now)

    def _submit(self, work: Callable[[], T]) -> Deferred[T]:
        if not self.ready:
            return fail(NotStored("the broker is away"))
        return self._world.submit(self, work)

    def _leave(self, stored: bool) -> None:
        for followings in list(self._followings.values()):
            for following in list(followings):
                following.interrupt()
        self._world.withdraw(self, stored)

    def _forget(self, following: MemoryFollowing) -> None:
        followings = self._followings.get(following.stream, [])
        if following in followings:
            followings.remove(following)
            if not followings:
                del self._followings[following.stream]
