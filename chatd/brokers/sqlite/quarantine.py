"""Commits in which a damaged page of one stream is no fault of the others.

A transaction in which SQLite met damage cannot be kept in part: after it, a savepoint in a
write-ahead log is not rolled back, and the commit fails. So the streams of a batch that failed are
committed one by one, and those that failed alone stay apart from then on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from attrs import define, field

from chatd.brokers.interfaces import Stream
from chatd.brokers.sqlite.batch import Changes, InDoubt, Work
from chatd.brokers.sqlite.damage import is_damage


@define(eq=False)
class Quarantine:
    """Commits batches with ``together``, which is `SQLiteWriter.commit`, in one thread."""

    together: Callable[[Sequence[Work]], Changes]
    _damaged: set[Stream] = field(factory=set, init=False)

    def commit(self, batch: Sequence[Work]) -> Changes:
        """As `SQLiteWriter.commit`, but what damage keeps from being done has its ``error`` set."""
        changes: Changes = []
        try:
            for part in self._parts(batch):
                self._commit(part, changes)
        except Exception as e:
            if not changes:
                raise
            doubtful = e.streams if isinstance(e, InDoubt) else frozenset()
            raise InDoubt(e, doubtful.union(stream for stream, _ in changes)) from e
        return changes

    def _parts(self, batch: Sequence[Work]) -> list[Sequence[Work]]:
        if not self._damaged:
            return [batch]
        well = [work for work in batch if work.stream not in self._damaged]
        damaged = [work for work in batch if work.stream in self._damaged]
        return [part for part in (well, *_by_stream(damaged)) if part]

    def _commit(self, part: Sequence[Work], changes: Changes) -> None:
        try:
            changes += self.together(part)
        except sqlite3.Error as e:
            if not is_damage(e):
                raise
            streams = _by_stream(part)
            if len(streams) > 1:
                for some in streams:
                    self._commit(some, changes)
                return
            self._damaged.add(part[0].stream)
            for work in part:
                work.error = e
        else:
            self._damaged.discard(part[0].stream)  # repaired, or deleted


def _by_stream(batch: Sequence[Work]) -> list[list[Work]]:
    streams: dict[Stream, list[Work]] = {}
    for work in batch:
        streams.setdefault(work.stream, []).append(work)
    return list(streams.values())
