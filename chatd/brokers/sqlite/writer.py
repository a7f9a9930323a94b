"""Writing to the database, in one thread.

A record's key is ``stream id << 40 | offset`` (see `chatd.brokers.sqlite.schema`). A deleted stream
has no name; its records are removed piece by piece, and its row last, so that its id is not used
again before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from secrets import token_hex

from chatd.brokers.interfaces import NoSuchStream, Retention, Stream
from chatd.brokers.sqlite.batch import Append, Batch, Changes, Create, InDoubt, StreamHead, Work
from chatd.brokers.sqlite.files import Files, Replaced, check_room
from chatd.brokers.sqlite.mark import Mark
from chatd.brokers.sqlite.schema import OFFSET_BITS, connect, transaction

#: Records and bytes that one `SQLiteWriter.trim` removes, at most, so that commits need not wait.
PIECE_RECORDS = 4096
PIECE_BYTES = 8 * 1024 * 1024

#: Connections to databases that were replaced, kept open until the process ends.
_LEFT_OPEN: list[sqlite3.Connection] = []

#: Streams whose heads are cached between commits.
_HEADS = 10_000
#: The file is shortened if more than one in `_SPARE_SHARE` pages, and more than `_SPARE_PAGES`, are
#: free; by `_VACUUM_PAGES` at a time.
_SPARE_SHARE = 4
_SPARE_PAGES = 1024
_VACUUM_PAGES = 512


class SQLiteWriter:
    """Changes the database ``path``. Every method is one transaction, and raises
    `sqlite3.Error`."""

    def __init__(self, path: str, retention: Retention) -> None:
        self._db = connect(path)
        self._retention = retention
        self._heads: dict[str, StreamHead] = {}
        self._free = 1
        self.mark()  # a first read, which opens the write-ahead log
        self._path, self._files = path, Files(path)
        #: Whether anything was committed since `advance`.
        self.changed = False

    def close(self) -> None:
        """Close the database, unless it was replaced: closing would remove the write-ahead log of
        that name, which may be another database's now."""
        try:
            self._files.check()
        except Replaced:
            _LEFT_OPEN.append(self._db)
        else:
            self._db.close()

    def check(self) -> None:
        """Raise `Replaced` if the database was deleted, renamed or replaced."""
        self._files.check()

    def probe(self, full: bool) -> None:
        """Raise if the database cannot be written, or was replaced; if its disk was ``full``, also
        if only little of that was freed."""
        self._files.check()
        if full:
            check_room(self._path)
        with transaction(self._db):
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            self._db.execute(f"PRAGMA user_version = {version}")

    def mark(self) -> Mark | None:
        """The database's own mark; None before the first `renew`."""
        row = self._db.execute("SELECT id, generation FROM life").fetchone()
        return Mark(*row) if row is not None else None

    def renew(self) -> Mark:
        """Give the database a new id, so that it is not taken for a copy of another one."""
        with transaction(self._db):
            self._db.execute("DELETE FROM life")
            self._db.execute("INSERT INTO life VALUES (?, 1)", (token_hex(8),))
        return Mark(*self._db.execute("SELECT id, generation FROM life").fetchone())

    def advance(self) -> Mark | None:
        """Increase the generation. Returns the new mark, None before the first `renew`."""
        with transaction(self._db):
            self._db.execute("UPDATE life SET generation = generation + 1")
        self.changed = False
        return self.mark()

    def commit(self, batch: Sequence[Work]) -> Changes:
        """Do all of ``batch``; it is on the disk when this returns, and not if this raises, unless
        that is `InDoubt`."""
        done, decided = Batch(), False
        if len(self._heads) > _HEADS:
            self._heads.clear()
        try:
            with transaction(self._db):
                for work in batch:
                    self._do(work, done)
                self._insert(done.rows)
                self._save(done.touched.values())
                self._files.check()  # while all of it can still be taken back
                decided = self.changed = True
            self._files.check()  # replaced between the look and the commit: it is in another file
        except Exception as e:
            self._heads.clear()
            if not decided:
                raise
            held = done.changes if self._may_hold(done.changes) else []
            raise InDoubt(e, frozenset(stream for stream, _ in held)) from e
        return done.changes

    def _may_hold(self, changes: Changes) -> bool:
        """Whether the file has any of ``changes``, or cannot tell: what failed, as on a full disk,
        was mostly not done."""
        try:
            for stream, records in changes:
                head = self._load(stream)
                if head is None if records is None else head and head.next > records[-1].offset:
                    return True
        except Exception:
            return True
        return False

    def _do(self, work: Work, done: Batch) -> None:
        head = self._heads.get(work.stream.name) or self._load(work.stream)
        if isinstance(work, Append):
            if head is None:
                work.error = NoSuchStream(work.stream.name)
            else:
                done.append(work, head)
        elif isinstance(work, Create):
            if head is None:
                self._create(work.stream)
        elif head is not None:
            done.delete(work.stream)
            self._delete(work.stream, head)

    def trim(self, stream_id: int, cutoff: int) -> bool:
        """Remove some expired records of a stream; True if there may be more. ``cutoff`` is the
        time (milliseconds since the epoch) before which records have expired."""
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
        """Shorten the file a little if much of it is free; True if there may be more to do."""
        spare = int(self._db.execute("PRAGMA freelist_count").fetchone()[0])
        pages = int(self._db.execute("PRAGMA page_count").fetchone()[0])
        if spare <= max(_SPARE_PAGES, pages // _SPARE_SHARE):
            return False
        self._db.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        return True

    def _load(self, stream: Stream) -> StreamHead | None:
        row = self._db.execute(
            "SELECT id, next, latest, size FROM stream WHERE name = ?", (stream.name,)
        ).fetchone()
        if row is None:
            return None
        head = StreamHead(row[0] << OFFSET_BITS, *row[1:])
        self._heads[stream.name] = head
        return head

    def _create(self, stream: Stream) -> None:
        taken = "SELECT 1 FROM stream WHERE id = ?"
        while self._db.execute(taken, (self._free,)).fetchone() is not None:
            self._free += 1
        self._db.execute(
            "INSERT INTO stream (id, name, next) VALUES (?, ?, 0)", (self._free, stream.name)
        )

    def _delete(self, stream: Stream, head: StreamHead) -> None:
        del self._heads[stream.name]
        self._db.execute("UPDATE stream SET name = NULL WHERE id = ?", (head.base >> OFFSET_BITS,))

    def _insert(self, rows: Sequence[tuple[int, int, int, bytes]]) -> None:
        self._in_few(_INSERTS, rows)

    def _save(self, heads: Iterable[StreamHead]) -> None:
        rows = [(head.base >> OFFSET_BITS, head.next, head.latest, head.size) for head in heads]
        self._in_few(_SAVES, rows)

    def _in_few(
        self, statements: Iterable[tuple[int, str]], rows: Sequence[tuple[object, ...]]
    ) -> None:
        """Run for all ``rows`` the statements that take most of them at once."""
        place = 0
        for count, statement in statements:
            while len(rows) - place >= count:
                values = [value for row in rows[place : place + count] for value in row]
                self._db.execute(statement, values)
                place += count

    def _piece(self, stream_id: int, excess: int, cutoff: int) -> tuple[int | None, int, bool]:
        """The last key to remove (None for none), the bytes that frees, and whether there is more
        to remove."""
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


# Many rows in one statement, here and below: for each step of a statement the interpreter's lock is
# released and taken again, which takes milliseconds beside a busy reactor thread.
_INSERTS = tuple(
    (
        count,
        "INSERT INTO record (key, time, latest, body) VALUES "
        + ", ".join(["(?, ?, ?, ?)"] * count),
    )
    for count in (128, 16, 1)
)

_SAVES = (
    *(
        (
            count,
            "UPDATE stream SET next = saved.column2, latest = saved.column3, size = saved.column4"
            f" FROM (VALUES {', '.join(['(?, ?, ?, ?)'] * count)}) AS saved"
            " WHERE stream.id = saved.column1",
        )
        for count in (128, 16)
    ),
    (1, "UPDATE stream SET next = ?2, latest = ?3, size = ?4 WHERE id = ?1"),
)

_PIECE = """
    SELECT json_group_array(key), json_group_array(latest), json_group_array(size) FROM (
        SELECT key, latest, length(body) AS size FROM record
        WHERE key >= ? AND key < ? ORDER BY key LIMIT ?)
"""
