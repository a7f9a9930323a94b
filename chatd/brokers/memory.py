"""The broker of `memory:`: streams that last as long as the process, for tests and for trying out.

Everything that happens in one reactor turn takes effect together at its end, so that with a
`task.Clock` a test decides when. Several nodes of a test may share one `MemoryBroker`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from chatd.brokers.local import LocalFanout
from chatd.brokers.log import Following, Log, State
from chatd.interfaces import (
    DIRECTORY,
    IBroker,
    IFollower,
    IFollowing,
    NoSuchStream,
    Record,
    Retention,
    Stream,
    Unavailable,
)

T = TypeVar("T")

#: How many of the newest events `MemoryBroker.announced` shows.
ANNOUNCED = 1000


@implementer(IBroker, IService)
class MemoryBroker(LocalFanout, Service):
    """Streams in this process's memory.

    ``skip``: leave out an offset after every so many records, as RabbitMQ does now and then.
    ``announced``: the newest events given to `announce`, as (event, room, body).
    """

    name = "broker"

    def __init__(
        self, clock: IReactorTime, retention: Retention | None = None, skip: int = 0
    ) -> None:
        super().__init__(clock)
        self.announced: deque[tuple[str, str, bytes]] = deque(maxlen=ANNOUNCED)
        self._retention = retention if retention is not None else Retention()
        self._skip = skip
        self._away = False
        self._logs: dict[Stream, Log] = {}
        self._followings: dict[Stream, list[Following]] = {}
        self._changed: dict[Stream, None] = {}  # an ordered set
        self._work: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self._turn: IDelayedCall | None = None

    # -- service and test hooks

    @property
    def ready(self) -> bool:
        return bool(self.running) and not self._away

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._wake(*self._followings)

    def stopService(self) -> None:
        self._flush()
        super().stopService()  # type: ignore[no-untyped-call]
        self._leave()

    def interrupt(self, stored: bool = False) -> None:
        """Be away, until `resume`. What waits fails; with ``stored`` it is stored nevertheless."""
        if stored:
            for work, done in self._work:
                self._do(work, done)
        self._away = True
        self._leave()

    def resume(self) -> None:
        """Be there again: followers go on after the last record they were handed."""
        self._away = False
        self._wake(*self._followings)

    def store(self, stream: Stream, body: bytes, time: int) -> None:
        """Append as another program would, whether this broker is away or not."""
        self._append(stream, body, time)
        self._wake()

    def truncate(self, stream: Stream, before: int) -> None:
        """Remove the records below the offset ``before``, as retention would."""
        log = self._existing(stream)
        log.drop(log.at_offset(before))

    # -- IBroker

    def create(self, stream: Stream) -> Deferred[None]:
        return self._submit(lambda: self._create(stream))

    def delete(self, stream: Stream) -> Deferred[None]:
        return self._submit(lambda: self._delete(stream))

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        return self._submit(lambda: self._append(stream, body, time))

    def follow(self, stream: Stream, tail: int | None, follower: IFollower) -> IFollowing:
        following = Following(stream, tail, follower, self._forget)
        self._followings.setdefault(stream, []).append(following)
        self._wake(stream)
        return following

    def read(self, stream: Stream, start: int, stop: int) -> Deferred[Sequence[Record]]:
        return self._submit(lambda: self._existing(stream).since(start, stop, self._now()))

    def locate(self, stream: Stream, time: int) -> Deferred[int]:
        return self._submit(lambda: self._locate(stream, time))

    def end(self, stream: Stream) -> Deferred[int]:
        return self._submit(lambda: self._existing(stream).last)

    def announce(self, event: str, room: str, body: bytes) -> None:
        self.announced.append((event, room, body))

    def broadcast(self, payload: bytes) -> None:
        if self.ready:
            super().broadcast(payload)

    # -- the work of one turn

    def _submit(self, work: Callable[[], T]) -> Deferred[T]:
        if not self.ready:
            return fail(Unavailable("the broker is away"))
        done: Deferred[T] = Deferred()
        self._work.append((work, done))
        self._wake()
        return done

    def _wake(self, *changed: Stream) -> None:
        self._changed.update(dict.fromkeys(changed))
        if self._turn is None and self.ready:
            self._turn = self._clock.callLater(0, self._flush)

    def _flush(self) -> None:
        self._cancel_turn()
        if not self.ready:
            return
        work, self._work = self._work, []
        told = [self._do(do, done) for do, done in work]
        changed, self._changed = self._changed, {}
        for stream in changed:
            self._advance(stream)
        for tell in told:
            tell()

    def _advance(self, stream: Stream) -> None:
        log = self._logs.get(stream)
        for following in list(self._followings.get(stream, ())):
            if following.state is not State.STOPPED and self.ready:
                following.advance(log, self._now())
        if log is not None:
            log.trim_size()

    def _leave(self) -> None:
        self._cancel_turn()
        work, self._work = self._work, []
        for followings in list(self._followings.values()):
            for following in list(followings):
                following.interrupt()
        for _, done in work:
            done.errback(Unavailable("the broker went away"))

    def _cancel_turn(self) -> None:
        if self._turn is not None and self._turn.active():
            self._turn.cancel()
        self._turn = None

    def _do(self, work: Callable[[], Any], done: Deferred[Any]) -> Callable[[], None]:
        try:
            return partial(done.callback, work())
        except NoSuchStream as e:
            return partial(done.errback, e)

    def _now(self) -> int:
        return int(self._clock.seconds() * 1000)

    def _existing(self, stream: Stream) -> Log:
        log = self._logs.get(stream)
        if log is None:
            raise NoSuchStream(stream.name)
        return log

    def _append(self, stream: Stream, body: bytes, time: int) -> None:
        self._existing(stream).append(body, time)
        self._changed[stream] = None

    def _create(self, stream: Stream) -> None:
        if stream not in self._logs:
            exempt = stream == DIRECTORY
            self._logs[stream] = Log(None if exempt else self._retention, self._skip)

    def _delete(self, stream: Stream) -> None:
        log = self._logs.pop(stream, None)
        if log is not None:
            log.deleted = True
            self._changed[stream] = None

    def _locate(self, stream: Stream, time: int) -> int:
        log = self._existing(stream)
        log.trim_age(self._now())
        place = log.at_time(time)
        return log.entries[place].record.offset if place < len(log.entries) else log.last + 1

    def _forget(self, following: Following) -> None:
        followings = self._followings.get(following.stream, [])
        if following in followings:
            followings.remove(following)
            if not followings:
                del self._followings[following.stream]
