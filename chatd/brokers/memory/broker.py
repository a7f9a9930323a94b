"""The broker in memory, for tests and for trying out.

All that is asked in one turn of the reactor takes effect at the end of the turn; with a
`task.Clock`, a test decides when that is. Several nodes of a test may share one `MemoryBroker`, or
each have a `MemoryBroker.peer` on the same streams, which can be interrupted on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from chatd.brokers.interfaces import (
    Extent,
    IBroker,
    IFollower,
    IFollowing,
    NotStored,
    Record,
    Retention,
    Stream,
)
from chatd.brokers.local import LocalBroker
from chatd.brokers.memory.log import FollowingState, MemoryFollowing, MemoryLog
from chatd.brokers.memory.world import World
from chatd.timing.wall import WallClock

T = TypeVar("T")


@implementer(IBroker, IService)
class MemoryBroker(LocalBroker, Service):
    """Streams in this process's memory.

    ``skip``: leave out an offset after every ``skip`` records, as RabbitMQ does now and then.
    """

    name = "broker"
    restored = False
    blocked = ""

    def __init__(
        self,
        clock: IReactorTime,
        retention: Retention | None = None,
        skip: int = 0,
        world: World | None = None,
        wall: WallClock | None = None,
    ) -> None:
        super().__init__(clock)
        self._world = world or World(
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

    def store(self, stream: Stream, body: bytes, time: int, foreign: bool = True) -> None:
        """Append a record as another program would, even while this broker is away; if not
        ``foreign``, as another node would."""
        self._world.append(stream, body, time, foreign)
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

    def announce(self, event: str, room: str, body: bytes) -> bool:
        if self.ready:
            self._world.announced.append((event, room, body))
        return self.ready

    def broadcast(self, payload: bytes) -> None:
        if self.ready:
            for node in self._world.nodes:
                if node.ready:
                    node.hear(payload)

    def hear(self, payload: bytes) -> None:
        """Pass what a node has broadcast to who listens here."""
        super().broadcast(payload)

    # -- followers

    def advance(self, stream: Stream, log: MemoryLog | None, now: Callable[[], int]) -> None:
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
