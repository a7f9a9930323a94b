"""Opening the file of `SQLiteBroker`: its lock, its schema and the way from older ones.

Pragmas: https://www.sqlite.org/pragma.html; WAL: https://www.sqlite.org/wal.html.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from chatd.brokers.interfaces import StartError

#: "chat": tells a chatd file from any other SQLite database.
APPLICATION_ID = 0x63686174
#: A record's key is its stream's id and its offset in one integer: one B-tree, no index beside it.
OFFSET_BITS = 40
#: Each step leads from the version that is its place in the tuple to the next. Steps are history:
#: they are only ever added to. Between files of one version there is no difference.
STEPS = (
    # 0 -> 1
    """
    CREATE TABLE stream (id INTEGER PRIMARY KEY, name TEXT UNIQUE, next INTEGER NOT NULL);
    CREATE TABLE record (key INTEGER PRIMARY KEY, time INTEGER NOT NULL, body BLOB NOT NULL);
    """,
    # 1 -> 2: "latest", the largest time so far, ascends even where times do not, so that a time
    # is found by bisection; sizes and the first offset are kept rather than summed up.
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
)

#: How long a statement waits for a lock that another program, such as a backup, holds.
_BUSY_SECONDS = 5.0


class Lock:
    """Keeps a second process off the same file, by flock(2) on ``PATH.lock`` beside it."""

    def __init__(self, path: str) -> None:
        self._path = f"{path}.lock"
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise _cannot_open(path, e) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise cannot_use(
                path,
                f"process {holder or 'unknown'} has it open; stop that one, or give this one a"
                " file of its own with --broker sqlite:PATH",
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        # The file stays: removing it would let two processes lock two files of one name.
        os.ftruncate(self._file, 0)
        os.close(self._file)


def cannot_use(path: str, why: str) -> StartError:
    """The `StartError` for a database file that cannot be used."""
    return StartError(f"cannot use the database {path}: {why}")


def _cannot_open(path: str, error: OSError) -> StartError:
    advice = {
        errno.ENOENT: "its folder does not exist; create it first",
        errno.EACCES: "this user may not write there; change its permissions, or give another",
        errno.EISDIR: "it is a folder; give the name of a file",
    }
    return cannot_use(path, advice.get(error.errno or 0, error.strerror or str(error)))


def connect(path: str) -> sqlite3.Connection:
    """Connect to a prepared file. Transactions are begun and ended by name only."""
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 16777216")
    return db


def prepare(path: str, steps: tuple[str, ...] = STEPS) -> None:
    """Create the file if it does not exist, bring its schema up to date, see that it can be
    written. Raises `StartError`."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = connect(path)
    except OSError as e:
        raise _cannot_open(path, e) from None
    except sqlite3.Error as e:
        raise cannot_use(path, str(e)) from None
    try:
        _upgrade(db, path, steps)
    except sqlite3.Error as e:
        raise cannot_use(path, str(e)) from None
    finally:
        db.close()


def _upgrade(db: sqlite3.Connection, path: str, steps: tuple[str, ...]) -> None:
    version = _number(db, "user_version")
    if version == 0 and _number(db, "page_count") == 0:
        # Both can be chosen only while the file is empty.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    if _number(db, "application_id") != APPLICATION_ID:
        raise cannot_use(path, "it is a database, but not one of chatd's; give another file")
    if version > len(steps):
        raise cannot_use(
            path,
            f"a newer chatd wrote it (version {version}, this one knows {len(steps)});"
            " install that chatd, or give another file",
        )
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise cannot_use(path, "its file system does not allow WAL; put it on a local disk")
    with transaction(db):
        for step in steps[version:]:
            for statement in step.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(steps)}")


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what happens inside, or leave no trace of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled it back already.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
