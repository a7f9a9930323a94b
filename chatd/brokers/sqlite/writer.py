"""The writing SQL of `SQLiteBroker`, for one thread.

A record's key is ``stream id << 40 | offset`` (see `chatd.brokers.sqlite.schema`). A stream without
a name was deleted; its records are removed piece by piece and its row last, so that its id cannot
be given again before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from secrets import token_hex

from attrs import define, field
from twisted.internet.defer import Deferred

from chatd.brokers.interfaces import NoSuchStream, Record, Retention, Stream
from chatd.brokers.sqlite.files import Files, Replaced
from chatd.brokers.sqlite.mark import Mark
from chatd.brokers.sqlite.schema import OFFSET_BITS, connect, transaction

#: What one piece of clearing up may remove, so that no commit waits long for it.
PIECE_RECORDS = 4096
PIECE_BYTES = 8 * 1024 * 1024

#: Databases that were replaced under us, until the process ends.
_LEFT_OPEN: list[sqlite3.Connection] = []

#: How many streams' heads the writer remembers between commits.
_HEADS = 10_000
#: Freed pages are reused; beyond this share of the file, and this many, the file is shortened.
_SPARE_SHARE = 4
_SPARE_PAGES = 1024
_VACUUM_PAGES = 512


@define(eq=False)
class Append:
    """An append that waits. ``error`` is set if it was not stored though the others were."""

    stream: Stream
    body: bytes
    time: int
    done: Deferred[None] = field(factory=Deferred)
    error: NoSuchStream | None = None


@define(eq=False)
class Create:
    """A stream to be made that waits."""

    stream: Stream
    done: Deferred[None] = field(factory=Deferred)
    error: NoSuchStream | None = None


@define(eq=False)
class Delete:
    """A stream to be deleted that waits."""

    stream: Stream
    done: Deferred[None] = field(factory=Deferred)
    error: NoSuchStream | None = None


Work = Append | Create | Delete

#: What a commit did, in order: the stream and its new records, or None for one deleted.
Changes = list[tuple[Stream, list[Record] | None]]


@define(eq=False)
class _Head:
    """A stream's row as it will be once the transaction is committed."""

    base: int
    next: int
    latest: int
    size: int


class SQLiteWriter:
    """All changes of the file. Every method is one transaction, and raises `sqlite3.Error`."""

    def __init__(self, path: str, retention: Retention) -> None:
        self._db = connect(path)
        self._retention = retention
        self._heads: dict[str, _Head] = {}
        self._free = 1
        self.mark()  # which opens the write-ahead log too
        self._files = Files(path)
        #: Whether anything was committed since `advance`.
        self.changed = False

    def close(self) -> None:
        """Close the file. One that was replaced is left open: closing would remove the write-ahead
        log of that name, which may be another's by now."""
        try:
            self._files.check()
        except Replaced:
            _LEFT_OPEN.append(self._db)
        else:
            self._db.close()

    def check(self) -> None:
        """Raise `Replaced` if the file is no longer where it was."""
        self._files.check()

    def probe(self) -> None:
        """Find out whether the file can be written, and will be found."""
        self._files.check()
        with transaction(self._db):
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            self._db.execute(f"PRAGMA user_version = {version}")

    def mark(self) -> Mark | None:
        """The database's own mark; None before the first `renew`."""
        row = self._db.execute("SELECT id, generation FROM life").fetchone()
        return Mark(*row) if row is not None else None

    def renew(self) -> Mark:
        """Make this another database than the one it was copied from."""
        with transaction(self._db):
            self._db.execute("DELETE FROM life")
            self._db.execute("INSERT INTO life VALUES (?, 1)", (token_hex(8),))
        return Mark(*self._db.execute("SELECT id, generation FROM life").fetchone())

    def advance(self) -> Mark | None:
        """Note that the database has come further; the new mark, None before the first `renew`."""
        self.changed = False
        with transaction(self._db):
            self._db.execute("UPDATE life SET generation = generation + 1")
        return self.mark()

    def commit(self, batch: Iterable[Work]) -> Changes:
        """Do all of ``batch``, safely on disk when this returns."""
        changes: Changes = []
        rows: list[tuple[int, int, int, bytes]] = []
        touched: dict[int, _Head] = {}
        growing: dict[Stream, list[Record]] = {}
        if len(self._heads) > _HEADS:
            self._heads.clear()
        try:
            with transaction(self._db):
                for work in batch:
                    head = self._heads.get(work.stream.name) or self._load(work.stream)
                    if isinstance(work, Append):
                        if head is None:
                            work.error = NoSuchStream(work.stream.name)
                            continue
                        records = growing.get(work.stream)
                        if records is None:
                            records = growing[work.stream] = []
                            changes.append((work.stream, records))
                            touched[head.base] = head
                        records.append(_grow(head, work, rows))
                    elif isinstance(work, Create):
                        if head is None:
                            self._create(work.stream)
                    elif head is not None:
                        growing.pop(work.stream, None)
                        changes.append((work.stream, None))
                        self._delete(work.stream, head)
                self._insert(rows)
                self._save(touched.values())
            self.changed = True
            self._files.check()
        except BaseException:
            self._heads.clear()
            raise
        return changes

    def trim(self, stream_id: int, cutoff: int) -> bool:
        """Remove a piece of what a stream may not keep; True if there may be more.

        ``cutoff`` (milliseconds): records before it are too old."""
        with transaction(self._db):
            row = self._db.execute(
                "SELECT name, size FROM stream WHERE id = ?", (stream_id,)
            ).fetchone()
            if row is None:
                return False
            name, size = row
            if name is None:
                return self._purge(stream_id)
            excess = size - self._retention.size
            key, freed, more = self._piece(stream_id, excess, cutoff)
            if key is None:
                return False
            base = stream_id << OFFSET_BITS
            self._db.execute("DELETE FROM record WHERE key BETWEEN ? AND ?", (base, key))
            self._db.execute(
                "UPDATE stream SET first = ?, size = size - ? WHERE id = ?",
                (key - base + 1, freed, stream_id),
            )
        self._heads.clear()
        return more

    def vacuum(self) -> bool:
        """Shorten the file by a piece if much of it is unused; True if there may be more."""
        spare = int(self._db.execute("PRAGMA freelist_count").fetchone()[0])
        pages = int(self._db.execute("PRAGMA page_count").fetchone()[0])
        if spare <= max(_SPARE_PAGES, pages // _SPARE_SHARE):
            return False
        self._db.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        return True

    def _load(self, stream: Stream) -> _Head | None:
        row = self._db.execute(
            "SELECT id, next, latest, size FROM stream WHERE name = ?", (stream.name,)
        ).fetchone()
        if row is None:
            return None
        head = _Head(row[0] << OFFSET_BITS, *row[1:])
        self._heads[stream.name] = head
        return head

    def _create(self, stream: Stream) -> None:
        taken = "SELECT 1 FROM stream WHERE id = ?"
        while self._db.execute(taken, (self._free,)).fetchone() is not None:
            self._free += 1
        self._db.execute(
            "INSERT INTO stream (id, name, next) VALUES (?, ?, 0)", (self._free, stream.name)
        )

    def _delete(self, stream: Stream, head: _Head) -> None:
        del self._heads[stream.name]
        self._db.execute("UPDATE stream SET name = NULL WHERE id = ?", (head.base >> OFFSET_BITS,))

    def _insert(self, rows: Sequence[tuple[int, int, int, bytes]]) -> None:
        place = 0
        for count, statement in _INSERTS:
            while len(rows) - place >= count:
                values = [value for row in rows[place : place + count] for value in row]
                self._db.execute(statement, values)
                place += count

    def _save(self, heads: Iterable[_Head]) -> None:
        rows = [[head.base >> OFFSET_BITS, head.next, head.latest, head.size] for head in heads]
        self._db.execute(_SAVE, (json.dumps(rows),))

    def _piece(self, stream_id: int, excess: int, cutoff: int) -> tuple[int | None, int, bool]:
        """The last key to remove (None if none is), the bytes that frees, whether more is due."""
        base, last, freed = stream_id << OFFSET_BITS, None, 0
        rows = self._db.execute(_PIECE, (base, base + (1 << OFFSET_BITS), PIECE_RECORDS))
        for key, latest, size in zip(*map(json.loads, rows.fetchone()), strict=True):
            if freed >= excess and latest >= cutoff:
                return last, freed, False
            if freed >= PIECE_BYTES:
                return last, freed, True
            last, freed = key, freed + size
        return last, freed, last is not None

    def _purge(self, stream_id: int) -> bool:
        key, _, more = self._piece(stream_id, 1 << 62, 0)
        if key is not None:
            self._db.execute(
                "DELETE FROM record WHERE key BETWEEN ? AND ?", (stream_id << OFFSET_BITS, key)
            )
        if not more:
            self._db.execute("DELETE FROM stream WHERE id = ?", (stream_id,))
            self._free = min(self._free, stream_id)
        return more


def _grow(head: _Head, work: Append, rows: list[tuple[int, int, int, bytes]]) -> Record:
    record = Record(head.next, work.body)
    head.latest = max(head.latest, work.time)
    rows.append((head.base + head.next, work.time, head.latest, work.body))
    head.next += 1
    head.size += len(work.body)
    return record


# Many rows in one step, here and below: the interpreter's lock is let go and fought for at each
# step, which beside a busy reactor thread takes milliseconds.
_INSERTS = tuple(
    (
        count,
        "INSERT INTO record (key, time, latest, body) VALUES "
        + ", ".join(["(?, ?, ?, ?)"] * count),
    )
    for count in (128, 16, 1)
)

_SAVE = """
    UPDATE stream SET next = json_extract(saved.value, '$[1]'),
        latest = json_extract(saved.value, '$[2]'), size = json_extract(saved.value, '$[3]')
    FROM json_each(?) AS saved WHERE stream.id = json_extract(saved.value, '$[0]')
"""

_PIECE = """
    SELECT json_group_array(key), json_group_array(latest), json_group_array(size) FROM (
        SELECT key, latest, length(body) AS size FROM record
        WHERE key >= ? AND key < ? ORDER BY key LIMIT ?)
"""
