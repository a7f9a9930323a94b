"""Reading records from the database, in one thread. Every method sees one snapshot of the file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

from attrs import frozen

from chatd.brokers.interfaces import DIRECTORY, Extent, NoSuchStream, Record, Retention, Stream
from chatd.brokers.sqlite.damage import is_damage
from chatd.brokers.sqlite.schema import OFFSET_BITS, connect, damage_told

#: Records and bytes of one page, at most: a follower parses it in one turn of the reactor.
PAGE_RECORDS = 256
PAGE_BYTES = 256 * 1024


@frozen
class RecordPage:
    """Records of a stream. Continue at the offset ``next``; ``complete``: there are no more.
    ``end`` is the stream's last offset, -1 if it never had one. ``lost``: records between the start
    asked for and the first one here are gone."""

    records: list[Record]
    next: int
    end: int
    complete: bool
    lost: bool


@frozen
class _Row:
    base: int
    first: int
    next: int
    latest: int


# One row for a page: for each row the interpreter's lock is released and taken again, which takes
# milliseconds beside a busy reactor thread.
_LISTING = """
    SELECT json_group_array(key), json_group_array(size) FROM (
        SELECT key, length(body) AS size FROM record
        WHERE key >= ? AND key < ? ORDER BY key LIMIT ?)
"""
_BODIES = """
    SELECT CAST(group_concat(body, '') AS BLOB) FROM (
        SELECT body FROM record WHERE key BETWEEN ? AND ? ORDER BY key)
"""

_OVERDUE = """
    SELECT id FROM stream WHERE (name IS NULL OR (name <> ? AND (size > ? OR (
        SELECT latest FROM record WHERE key >= (id << 40) + first AND key < (id << 40) + next
        ORDER BY key LIMIT 1) < ?)))
"""


def _within(sizes: list[int], limit: int) -> int:
    """How many of ``sizes`` it takes to reach ``limit``; all if they do not."""
    return next((n for n, size in enumerate(accumulate(sizes), 1) if size >= limit), len(sizes))


class Reader:
    """Reads the database ``path``. Methods raise `NoSuchStream` or `sqlite3.Error`.

    ``cutoff`` is the time (milliseconds since the epoch) before which records have expired; those
    that are not removed yet are hidden, up to the first one that has not.
    """

    def __init__(self, path: str) -> None:
        self._db = connect(path)

    def close(self) -> None:
        self._db.close()

    def page(self, stream: Stream, start: int | None, tail: int | None, cutoff: int) -> RecordPage:
        """A page from the offset ``start``; if that is None, from ``tail`` records before the end
        (None: from the first record)."""
        with self._moment():
            row = self._row(stream)
            floor = self._floor(row, cutoff)
            begin = max(floor, self._tail(row, tail) if start is None else start)
            records, place = self._records(row, begin, row.next)
            end, lost = row.next - 1, start is not None and start < floor
            return RecordPage(records, place, end, place >= row.next, lost)

    def read(self, stream: Stream, start: int, stop: int, cutoff: int) -> list[Record]:
        """The records with ``start <= offset < stop``."""
        with self._moment():
            row = self._row(stream)
            begin, end = max(start, self._floor(row, cutoff)), min(stop, row.next)
            records: list[Record] = []
            while begin < end:
                more, begin = self._records(row, begin, end)
                records += more
            return records

    def locate(self, stream: Stream, time: int, cutoff: int) -> int:
        """The offset of the first record at or after ``time`` (milliseconds); the next one to be
        used if there is none."""
        with self._moment():
            row = self._row(stream)
            return self._at_time(row, max(time, cutoff))

    def end(self, stream: Stream) -> int:
        """The last offset used, -1 if there is none."""
        with self._moment():
            return self._row(stream).next - 1

    def extents(self, streams: Sequence[Stream]) -> list[Extent | None]:
        """As `IBroker.extents`; records that are about to be removed count."""
        with self._moment():
            rows = (
                self._db.execute(
                    "SELECT next - first, size, latest FROM stream WHERE name = ?", (stream.name,)
                ).fetchone()
                for stream in streams
            )
            return [Extent(*row) if row is not None else None for row in rows]

    def overdue(self, retention: Retention, cutoff: int) -> list[int]:
        """The ids of streams with records to be removed, and of those of which damage keeps that
        from being told."""
        asked = (DIRECTORY.name, retention.size, cutoff)
        with self._moment():
            try:
                return [id for (id,) in self._db.execute(_OVERDUE, asked).fetchall()]
            except sqlite3.Error as e:
                if not is_damage(e):
                    raise
            ids = self._db.execute("SELECT id FROM stream").fetchall()
            return [id for (id,) in ids if self._is_overdue(id, asked)]

    def _is_overdue(self, id: int, asked: tuple[str, int, int]) -> bool:
        try:
            return self._db.execute(f"{_OVERDUE} AND id = ?", (*asked, id)).fetchone() is not None
        except sqlite3.Error as e:
            if not is_damage(e):
                raise
            return True

    @contextmanager
    def _moment(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            with damage_told():
                yield
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _row(self, stream: Stream) -> _Row:
        row = self._db.execute(
            "SELECT id, first, next, latest FROM stream WHERE name = ?", (stream.name,)
        ).fetchone()
        if row is None:
            raise NoSuchStream(stream.name)
        return _Row(row[0] << OFFSET_BITS, *row[1:])

    def _records(self, row: _Row, start: int, stop: int) -> tuple[list[Record], int]:
        """A page of records with ``start <= offset < stop``, and the offset to continue at."""
        rows = self._db.execute(_LISTING, (row.base + start, row.base + stop, PAGE_RECORDS))
        keys, sizes = map(json.loads, rows.fetchone())
        if not keys:
            return [], max(start, stop)
        count = _within(sizes, PAGE_BYTES)
        bodies = self._db.execute(_BODIES, (keys[0], keys[count - 1])).fetchone()[0]
        records, place = [], 0
        for key, size in zip(keys[:count], sizes, strict=False):
            records.append(Record(key - row.base, bodies[place : place + size]))
            place += size
        complete = count == len(keys) < PAGE_RECORDS
        return records, max(start, stop) if complete else keys[count - 1] - row.base + 1

    def _tail(self, row: _Row, tail: int | None) -> int:
        if tail is None or tail >= row.next - row.first:
            return row.first
        if tail <= 0:
            return row.next
        found = self._db.execute(
            "SELECT key FROM record WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT 1 OFFSET ?",
            (row.base, row.base + row.next, tail - 1),
        ).fetchone()
        return row.first if found is None else int(found[0]) - row.base

    def _floor(self, row: _Row, cutoff: int) -> int:
        """The first offset that is not removed and has not expired."""
        if row.first >= row.next or row.latest < cutoff:
            return row.next
        found = self._from(row, row.first, row.next)
        if found is None or found[1] >= cutoff:
            return row.first
        return self._at_time(row, cutoff)

    def _at_time(self, row: _Row, time: int) -> int:
        low, high = row.first, row.next
        while low < high:
            middle = (low + high) // 2
            found = self._from(row, middle, high)
            if found is None or found[1] >= time:
                high = middle
            else:
                low = found[0] + 1
        found = self._from(row, low, row.next)
        return row.next if found is None else found[0]

    def _from(self, row: _Row, start: int, stop: int) -> tuple[int, int] | None:
        """The offset and the latest time of the first record with ``start <= offset < stop``."""
        found = self._db.execute(
            "SELECT key, latest FROM record WHERE key >= ? AND key < ? ORDER BY key LIMIT 1",
            (row.base + start, row.base + stop),
        ).fetchone()
        return None if found is None else (found[0] - row.base, found[1])
