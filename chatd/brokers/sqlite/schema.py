"""The schema of the database, and its migrations.

Pragmas: https://www.sqlite.org/pragma.html; WAL: https://www.sqlite.org/wal.html.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from chatd.brokers.sqlite.damage import NoNumbers
from chatd.brokers.sqlite.lock import cannot_begin, cannot_open, cannot_use, refuse_names

#: "chat", SQLite's application id of chatd's databases.
APPLICATION_ID = 0x63686174
#: A record's key has the id of its stream in the upper bits and its offset in the lower ones, so
#: one B-tree suffices.
OFFSET_BITS = 40
#: Migrations: each leads from the version that is its index to the next. Never change one.
STEPS = (
    # 0 -> 1
    """
    CREATE TABLE stream (id INTEGER PRIMARY KEY, name TEXT UNIQUE, next INTEGER NOT NULL);
    CREATE TABLE record (key INTEGER PRIMARY KEY, time INTEGER NOT NULL, body BLOB NOT NULL);
    """,
    # 1 -> 2: "latest", the largest time up to a record, ascends even where times do not, so that
    # bisection finds a time; sizes and first offsets are kept instead of computed.
    """
    ALTER TABLE stream ADD COLUMN first INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE stream ADD COLUMN latest INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE stream ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE record ADD COLUMN latest INTEGER NOT NULL DEFAULT 0;
    UPDATE record SET latest = running.latest FROM (
        SELECT key, max(time) OVER (PARTITION BY key >> 40 ORDER BY key) AS latest FROM record
    ) AS running WHERE running.key = record.key;
    UPDATE stream SET first = next;
    UPDATE stream SET first = kept.first, latest = kept.latest, size = kept.size FROM (
        SELECT key >> 40 AS id, min(key) & 0xFFFFFFFFFF AS first,
               max(latest) AS latest, sum(length(body)) AS size
        FROM record GROUP BY key >> 40
    ) AS kept WHERE kept.id = stream.id;
    """,
    # 2 -> 3: the database's own mark; see `chatd.brokers.sqlite.mark`.
    """
    CREATE TABLE life (id TEXT NOT NULL, generation INTEGER NOT NULL);
    """,
)

#: What ``PRAGMA auto_vacuum`` says of a database that is made here.
_INCREMENTAL = 2
#: Seconds that a statement waits for a lock held by another program, such as a backup.
_BUSY_SECONDS = 5.0


def connect(path: str) -> sqlite3.Connection:
    """Connect to a prepared database. Transactions are begun and ended explicitly."""
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 16777216")
    # open no files later: there may be no descriptor left then
    db.execute("PRAGMA temp_store = MEMORY")
    return db


def prepare(path: str, steps: tuple[str, ...] = STEPS) -> None:
    """Create the database if it does not exist, and migrate its schema. Raises `StartError`."""
    refuse_names(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = connect(path)
    except OSError as e:
        raise cannot_open(path, e) from None
    except sqlite3.Error as e:
        raise cannot_begin(path, e) from None
    try:
        _upgrade(db, path, steps)
    except sqlite3.Error as e:
        raise cannot_begin(path, e) from None
    finally:
        db.close()


def check_known(db: sqlite3.Connection, path: str, steps: tuple[str, ...] = STEPS) -> int:
    """The version of the schema. Raises `StartError` unless the database is chatd's and ``steps``
    lead on from there."""
    version = _number(db, "user_version")
    if _number(db, "application_id") != APPLICATION_ID:
        raise cannot_use(path, "it is a database, but not one of chatd's; give another file")
    if version > len(steps):
        raise cannot_use(
            path,
            f"a newer chatd wrote it (version {version}, this one knows {len(steps)});"
            " install that chatd, or give another file",
        )
    return version


def _upgrade(db: sqlite3.Connection, path: str, steps: tuple[str, ...]) -> None:
    if is_empty(db):
        # only while the file is empty; it writes the file, and does nothing in a transaction
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    version = check_known(db, path, steps)
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise cannot_use(path, "its file system does not allow WAL; put it on a local disk")
    if version == len(steps):
        return  # nothing is written: on a full disk, too, what is there can be read
    with transaction(db):
        for step in steps[version:]:
            for statement in step.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(steps)}")


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing was ever written there, or no more than the first setting of a new database:
    the process that began it was killed before the next one."""
    if _number(db, "user_version") or _number(db, "application_id"):
        return False
    if _number(db, "page_count") == 0:
        return True
    empty = db.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
    return empty and _number(db, "auto_vacuum") == _INCREMENTAL


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


@contextmanager
def damage_told() -> Iterator[None]:
    """Raise `NoNumbers` where rows of a damaged page are read."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as e:
        raise NoNumbers("the database is damaged") from e


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction: commit what is done inside, or roll it back."""
    db.execute("BEGIN IMMEDIATE")
    try:
        with damage_told():
            yield
        db.execute("COMMIT")
    except BaseException:
        # a full disk may have rolled it back already
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
