"""One stream in memory, and a follower's position in it. Pure: no clock, no reactor."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from enum import Enum, auto

from attrs import define, field, frozen
from twisted.logger import Logger
from zope.interface import implementer

from chatd.brokers.interfaces import IFollower, IFollowing, Record, Retention, Stream


@frozen
class LogEntry:
    """A record, and the largest time up to it (milliseconds since the epoch), which ascends even
    where times do not."""

    record: Record
    latest: int


@define(eq=False)
class MemoryLog:
    """The records of one stream. ``last`` is the last offset used, ``trimmed`` the last one removed
    by retention; -1 for none. ``latest`` is the largest time of all, those removed included."""

    retention: Retention | None
    skip: int
    entries: list[LogEntry] = field(factory=list)
    size: int = 0
    last: int = -1
    latest: int = 0
    appended: int = 0
    trimmed: int = -1
    deleted: bool = False

    def append(self, body: bytes, time: int, foreign: bool = False) -> None:
        """Add a record. Call `trim_size` afterwards."""
        skipped = bool(self.skip and self.appended and self.appended % self.skip == 0)
        self.last += 2 if skipped else 1
        self.appended += 1
        self.latest = max(time, self.latest)
        self.entries.append(LogEntry(Record(self.last, body, foreign=foreign), self.latest))
        self.size += len(body)

    def trim_size(self) -> None:
        """Remove the oldest records beyond the retention's size."""
        if self.retention is None or self.size <= self.retention.size:
            return
        excess, count = self.size - self.retention.size, 0
        while excess > 0:
            excess -= len(self.entries[count].record.body)
            count += 1
        self.drop(count)

    def trim_age(self, now: int) -> None:
        """Remove the records that have expired at ``now`` (milliseconds since the epoch)."""
        if self.retention is not None and self.entries:
            self.drop(self.at_time(now - self.retention.age * 1000))

    def drop(self, count: int) -> None:
        """Remove the first ``count`` entries."""
        if count:
            self.size -= sum(len(e.record.body) for e in self.entries[:count])
            self.trimmed = self.entries[count - 1].record.offset
            del self.entries[:count]

    def at_offset(self, offset: int) -> int:
        """The index in ``entries`` of the first one at or after ``offset``."""
        return bisect_left(self.entries, offset, key=lambda e: e.record.offset)

    def at_time(self, time: int) -> int:
        """The index in ``entries`` of the first one at or after ``time``."""
        return bisect_left(self.entries, time, key=lambda e: e.latest)

    def newest(self, offset: int) -> list[Record]:
        """The records at or after ``offset``, which are few: all have come lately."""
        first = len(self.entries)
        while first and self.entries[first - 1].record.offset >= offset:
            first -= 1
        return [entry.record for entry in self.entries[first:]]

    def since(self, start: int, stop: int | None, now: int) -> list[Record]:
        """The records with ``start <= offset``, and ``offset < stop`` if that is given, from the
        first one on that has not expired at ``now``."""
        self.trim_age(now)
        first, end = self.at_offset(start), None if stop is None else self.at_offset(stop)
        return [entry.record for entry in self.entries[first:end]]


class FollowingState(Enum):
    """How a follower stands to its stream."""

    #: Has yet to be passed what was there when it began, or resumed.
    STARTING = auto()
    #: The same, though the broker was not away.
    REFRESHING = auto()
    #: At the end.
    LIVE = auto()
    STOPPED = auto()


@implementer(IFollowing)
@define(eq=False)
class MemoryFollowing:
    """Feeds a follower from a log. ``position`` is the first offset not passed yet."""

    stream: Stream
    tail: int | None
    follower: IFollower
    forget: Callable[[MemoryFollowing], None]
    wake: Callable[[Stream], None]
    state: FollowingState = FollowingState.STARTING
    log: MemoryLog | None = None
    position: int = 0

    fault = ""
    _logger = Logger()

    def stop(self) -> None:
        self.state = FollowingState.STOPPED
        self.forget(self)

    def refresh(self) -> None:
        if self.state is FollowingState.LIVE:
            self.state = FollowingState.REFRESHING
            self._tell(self.follower.interrupted)
        self.wake(self.stream)

    def interrupt(self) -> None:
        """The broker goes away; `advance` resumes at the position."""
        if self.state in (FollowingState.LIVE, FollowingState.REFRESHING):
            self.state = FollowingState.STARTING
            self._tell(self.follower.interrupted)

    def advance(self, log: MemoryLog | None, now: Callable[[], int]) -> None:
        """Pass all records from the position on. ``log`` is the stream, None if it does not exist;
        ``now`` is asked where records may have expired (milliseconds since the epoch)."""
        if self.log is None and log is not None:
            self._attach(log, now())
        if self.log is None or self.log.deleted:
            self.stop()
            self._tell(self.follower.gone)
            return
        starting, end = self._starting, self.log.last
        batch = self._take(self.log, now)
        if starting and self.state is not FollowingState.STOPPED:
            self.state = FollowingState.LIVE
        if batch and self.state is FollowingState.LIVE:
            self._tell(self.follower.records, batch)
        if starting and self.state is FollowingState.LIVE:
            self._tell(self.follower.caught_up, end)

    @property
    def _starting(self) -> bool:
        return self.state in (FollowingState.STARTING, FollowingState.REFRESHING)

    def _attach(self, log: MemoryLog, now: int) -> None:
        log.trim_age(now)
        self.log = log
        first = 0 if self.tail is None else max(0, len(log.entries) - self.tail)
        at_end = first >= len(log.entries)
        self.position = log.last + 1 if at_end else log.entries[first].record.offset

    def _take(self, log: MemoryLog, now: Callable[[], int]) -> list[Record]:
        if self._starting:
            batch = log.since(self.position, None, now())
        else:
            batch = log.newest(self.position)
        lost, self.position = self.position <= log.trimmed, log.last + 1
        if lost:
            self._tell(self.follower.truncated)
        return batch

    def _tell(self, call: Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except Exception:
            self._logger.failure("a follower of {stream} failed", stream=self.stream.name)
