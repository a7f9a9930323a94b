"""The broker in one SQLite file, for one process. A confirmed record is on the disk.

Two threads use the file. The *writer* commits: all that waits at the end of a reactor's turn is one
transaction, and the next one gathers while that is written (group commit). The *reader* answers
reads and brings followers up to the head. The result of a commit comes back to the reactor's thread
in one call, which passes the new records to followers and then fires the Deferreds.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred, fail, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.brokers.interfaces import (
    DIRECTORY,
    Extent,
    IBroker,
    IFollower,
    IFollowing,
    NotStored,
    Record,
    Retention,
    Stream,
    Unavailable,
)
from chatd.brokers.local import LocalBroker
from chatd.brokers.sqlite.batch import Append, Changes, Create, Delete, Work
from chatd.brokers.sqlite.damage import Faults
from chatd.brokers.sqlite.files import file_figures
from chatd.brokers.sqlite.following import SQLiteFollowing
from chatd.brokers.sqlite.opening import Opened, open_database
from chatd.brokers.sqlite.reader import Reader, RecordPage
from chatd.brokers.sqlite.threads import Health
from chatd.timing.wall import WallClock

T = TypeVar("T")

#: Reads that may wait for the reader, and seconds that one may take.
WAITING_READS = 1000
READ_SECONDS = 10.0

#: Seconds between two sweeps for expired records, and between two checks of the disk.
SWEEP_SECONDS = 2.0
#: Seconds that stopping waits for the disk, after the node has drained.
STOP_SECONDS = 1.5


@implementer(IBroker, IService)
class SQLiteBroker(LocalBroker, Service):
    """Streams in one SQLite file. ``reactor`` provides `IReactorTime` and `IReactorFromThreads`.

    ``path`` is made at start, readable by its owner only; beside it are ``path.lock``,
    ``path.mark``, ``path-wal`` and ``path-shm``.
    """

    name = "broker"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        path: str,
        retention: Retention | None = None,
        wall: WallClock | None = None,
    ) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self._wall = wall or WallClock(reactor)
        # two names of one file must use the same lock; and a daemon changes its directory
        self._path = os.path.realpath(path)
        self._retention = retention if retention is not None else Retention()
        self._open: Opened | None = None
        self._followings: dict[Stream, list[SQLiteFollowing]] = {}
        self._reads, self._faults = 0, Faults(self._path)
        self._sweeping = LoopingCall(self.sweep)
        self._watching = LoopingCall(self._watch)
        self._sweeping.clock = self._watching.clock = reactor

    # -- service

    @property
    def ready(self) -> bool:
        return (
            bool(self.running)
            and self._open is not None
            and self._open.commits.health is Health.WORKING
        )

    @property
    def blocked(self) -> str:
        return self._open.commits.blocked if self._open is not None else ""

    @property
    def restored(self) -> bool:
        return self._open is not None and self._open.lineage.restored

    def figures(self) -> Mapping[str, tuple[str, float]]:
        return file_figures(self._path)

    def restoration_told(self) -> None:
        if self._open is not None:
            lineage, writer = self._open.lineage, self._open.writer
            self._open.writing.call(lineage.told, writer).addErrback(lineage.failed)

    def startService(self) -> None:
        told = self._committed, self._in_doubt
        self._open = open_database(self._reactor, self._path, self._retention, *told)
        super().startService()
        self._swept = self._sweeping.start(SWEEP_SECONDS, now=False)
        self._watching.start(SWEEP_SECONDS, now=True)

    def stopService(self) -> Deferred[None]:
        """Fires when all submitted work is stored or refused, and the file is closed."""
        super().stopService()
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        opened = self._open
        if opened is None:
            return
        opened.sweep.stop()
        opened.checkup.stop()
        closing: Deferred[None] = Deferred.fromCoroutine(self._close(opened))
        try:
            # a disk that never answers must not keep the process from ending
            await closing.addTimeout(STOP_SECONDS, self._reactor)
        except TimeoutError:
            self._log.error(
                "{path}: the disk does not answer; stopping without it", path=self._path
            )
            opened.commits.give_up()
        finally:
            for following in self._all_followings():
                following.interrupt()
            for thread in (opened.reading, opened.writing, opened.checking):
                thread.stop()
            opened.lock.release()
            self._open = None

    async def _close(self, opened: Opened) -> None:
        """Commit what waits, and close the file."""
        for looping in (self._sweeping, self._watching):
            if looping.running:
                looping.stop()
        await opened.commits.flush()
        await self._swept
        await self._advance(opened)
        await opened.reading.call(opened.reader.close)
        await opened.writing.call(opened.writer.close)
        await opened.checking.call(lambda: None)  # the check has ended by then

    # -- IBroker

    def create(self, stream: Stream) -> Deferred[None]:
        return self._submit(Create(stream))

    def open(self, stream: Stream) -> Deferred[None]:
        return self.end(stream).addCallback(lambda _: None)

    def delete(self, stream: Stream) -> Deferred[None]:
        return self._submit(Delete(stream))

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        return self._submit(Append(stream, body, time))

    def follow(self, stream: Stream, tail: int | None, follower: IFollower) -> IFollowing:
        following = SQLiteFollowing(stream, tail, follower, self._page, self._forget)
        self._followings.setdefault(stream, []).append(following)
        if self.running:
            following.begin()
        return following

    def read(self, stream: Stream, start: int, stop: int) -> Deferred[Sequence[Record]]:
        cutoff = self._cutoff(stream)
        return self._ask(lambda reader: reader.read(stream, start, stop, cutoff))

    def locate(self, stream: Stream, time: int) -> Deferred[int]:
        cutoff = self._cutoff(stream)
        return self._ask(lambda reader: reader.locate(stream, time, cutoff))

    def end(self, stream: Stream) -> Deferred[int]:
        return self._ask(lambda reader: reader.end(stream))

    def extents(self, streams: Sequence[Stream]) -> Deferred[Sequence[Extent | None]]:
        return self._ask(lambda reader: reader.extents(streams))

    def announce(self, event: str, room: str, body: bytes) -> bool:
        """Does nothing: the broker has no other clients."""
        return True

    # -- the two threads

    def _submit(self, work: Work) -> Deferred[None]:
        if not self.running or self._open is None:
            return fail(NotStored("the broker is not running"))
        return self._open.commits.submit(work).addErrback(self._faults.unwritable)

    def _ask(self, question: Callable[[Reader], T]) -> Deferred[T]:
        if self._reads >= WAITING_READS:
            return fail(Unavailable("too many reads wait"))
        return self._read(question)

    def _read(self, question: Callable[[Reader], T]) -> Deferred[T]:
        if not self.running or self._open is None:
            return fail(Unavailable("the broker is not running"))
        self._reads += 1
        answer: Deferred[T] = Deferred()
        read = self._open.reading.call(question, self._open.reader)
        read.addBoth(self._was_read).addCallbacks(answer.callback, answer.errback)
        answer.addTimeout(READ_SECONDS, self._reactor)
        return answer.addErrback(self._faults.unreadable)

    def _was_read(self, result: T) -> T:
        self._reads -= 1
        return result

    def _page(self, stream: Stream, position: int | None, tail: int | None) -> Deferred[RecordPage]:
        cutoff = self._cutoff(stream)
        return self._read(lambda reader: reader.page(stream, position, tail, cutoff))

    def _committed(self, changes: Changes) -> None:
        for stream, records in changes:
            for following in tuple(self._followings.get(stream, ())):
                if records is None:
                    following.end()
                else:
                    following.grown(records)

    def _in_doubt(self, streams: Iterable[Stream]) -> None:
        for stream in streams:
            for following in tuple(self._followings.get(stream, ())):
                following.read_anew()

    def _cutoff(self, stream: Stream) -> int:
        return 0 if stream == DIRECTORY else self._oldest()

    def _oldest(self) -> int:
        return self._wall.oldest(self._retention.age)

    # -- followers

    def _forget(self, following: SQLiteFollowing) -> None:
        followings = self._followings[following.stream]
        followings.remove(following)
        if not followings:
            del self._followings[following.stream]

    def _all_followings(self) -> list[SQLiteFollowing]:
        return [following for some in self._followings.values() for following in some]

    # -- from time to time

    def _watch(self) -> None:
        opened = self._open
        if opened is None:
            return
        opened.commits.check()
        if opened.commits.health is not Health.STALLED:
            failing = opened.commits.health is Health.FAILING
            full = bool(opened.commits.blocked)
            look = partial(opened.writer.probe, full) if failing else opened.writer.check
            opened.writing.call(look).addCallbacks(
                lambda _: opened.commits.report(None) if failing else None,
                lambda failure: self._unwell(failure, opened),
            )
            if not failing:
                self._advance(opened)
        for following in self._all_followings():
            following.begin()

    def _advance(self, opened: Opened) -> Deferred[None]:
        advanced = opened.writing.call(opened.lineage.advance, opened.writer)
        return advanced.addErrback(opened.lineage.failed)

    def _unwell(self, failure: Failure, opened: Opened) -> None:
        failure.trap(sqlite3.Error)
        opened.commits.report(failure.value)

    def sweep(self) -> Deferred[None]:
        """Remove what has expired, or was deleted."""
        if self._open is None:
            return succeed(None)
        return Deferred.fromCoroutine(self._open.sweep.run(self._oldest()))
