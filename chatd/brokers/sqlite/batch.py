"""What one commit does: the work submitted, and its effect on streams."""

from __future__ import annotations

import sqlite3

from attrs import define, field
from twisted.internet.defer import Deferred

from chatd.brokers.interfaces import NoSuchStream, Record, Stream


@define(eq=False)
class Work:
    """Something to be committed. ``done`` fires when it was; ``error`` is set if it alone could not
    be done."""

    stream: Stream
    done: Deferred[None] = field(factory=Deferred, init=False)
    error: NoSuchStream | sqlite3.Error | None = field(default=None, init=False)


@define(eq=False)
class Append(Work):
    """An append."""

    body: bytes
    time: int


class Create(Work):
    """The creation of a stream."""


class Delete(Work):
    """The deletion of a stream."""


class InDoubt(Exception):
    """A commit failed, with ``fault``, when it could no longer be taken back. Only the file tells
    what ``streams`` hold now; the other streams of the commit do not hold it, unless the process
    ends before the next commit, and the next start finds it in the write-ahead log."""

    def __init__(self, fault: BaseException, streams: frozenset[Stream]) -> None:
        super().__init__(str(fault))
        self.streams = streams


#: What a commit did, in order: a stream, and its new records (None: it was deleted).
Changes = list[tuple[Stream, list[Record] | None]]


@define(eq=False)
class StreamHead:
    """The row of a stream as it will be after the transaction."""

    base: int
    next: int
    latest: int
    size: int


@define(eq=False)
class Batch:
    """The effect of a batch: its changes, the rows to insert (key, time, latest, body), and the
    heads to save, by their first key."""

    changes: Changes = field(factory=list)
    rows: list[tuple[int, int, int, bytes]] = field(factory=list)
    touched: dict[int, StreamHead] = field(factory=dict)
    _growing: dict[Stream, list[Record]] = field(factory=dict)

    def append(self, work: Append, head: StreamHead) -> None:
        """Add a record to the stream of ``head``."""
        records = self._growing.get(work.stream)
        if records is None:
            records = self._growing[work.stream] = []
            self.changes.append((work.stream, records))
            self.touched[head.base] = head
        records.append(Record(head.next, work.body))
        head.latest = max(head.latest, work.time)
        self.rows.append((head.base + head.next, work.time, head.latest, work.body))
        head.next += 1
        head.size += len(work.body)

    def delete(self, stream: Stream) -> None:
        """End the stream's records; it may be created again in the same batch."""
        self._growing.pop(stream, None)
        self.changes.append((stream, None))
