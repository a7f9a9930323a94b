"""Looking at a database before it is used, without changing it or anything beside it.

https://www.sqlite.org/wal.html#read_only_databases, https://www.sqlite.org/uri.html
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

from chatd.brokers.sqlite.lock import cannot_open, cannot_use
from chatd.brokers.sqlite.schema import check_known, is_empty

#: How every SQLite database begins (https://www.sqlite.org/fileformat2.html).
_MAGIC = b"SQLite format 3\0"


def inspect(path: str) -> None:
    """Raise `StartError` if what is there, if anything is, is no database that this chatd can
    open."""
    try:
        # a pipe or a device would be waited for
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise cannot_use(path, "it is no plain file")
        with open(path, "rb") as file:
            begun = file.read(len(_MAGIC))
    except FileNotFoundError:
        return
    except OSError as e:
        raise cannot_open(path, e) from None
    if not begun:
        return
    if begun != _MAGIC:
        raise cannot_use(path, "file is not a database")
    try:
        with closing(sqlite3.connect(_address(path), uri=True, isolation_level=None)) as db:
            if not is_empty(db):
                check_known(db, path)
                db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as e:
        raise cannot_use(path, str(e)) from None


def _address(path: str) -> str:
    """The URI of the database for a connection that makes no file and writes into none."""
    # with a log, what counts may be there alone; SQLite reads it by its index, which is shared with
    # those who use the database
    logged = all(_holds(f"{path}{end}") for end in ("-wal", "-shm"))
    how = "mode=ro&readonly_shm=1" if logged else "immutable=1"
    return f"{Path(path).as_uri()}?{how}"


def _holds(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False


def check_places(path: str) -> None:
    """Raise `StartError` unless this user may write the database, what is beside it, and in its
    folder, where a lock, a log and a mark are made."""
    folder = os.path.dirname(path)
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise cannot_use(path, f"this user may not write in its folder {folder}")
    for file in (path, *(f"{path}{end}" for end in ("-wal", "-shm", ".lock"))):
        may = os.access(file, os.R_OK | os.W_OK, effective_ids=True)
        if os.path.exists(file) and not may:
            raise cannot_use(path, f"this user may not write {os.path.basename(file)}")
