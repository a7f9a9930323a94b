"""Noticing that the open database, or what belongs to it, was deleted, renamed or replaced."""

from __future__ import annotations

import os
import shutil
import sqlite3

#: Bytes that a disk which was full must have: a page or two would be there for the next probe, and
#: not for the next message.
ROOM = 1024 * 1024


class Replaced(sqlite3.OperationalError):
    """The database was deleted, renamed or replaced: the next start would not find new records."""


class Full(sqlite3.OperationalError):
    """There is little space left on the disk."""

    sqlite_errorcode = sqlite3.SQLITE_FULL

    def __init__(self) -> None:
        super().__init__("database or disk is full")


def check_room(path: str) -> None:
    """Raise `Full` unless the disk of the database ``path`` has `ROOM` for commits."""
    try:
        free = shutil.disk_usage(os.path.dirname(path)).free
    except OSError:
        return  # it does not tell
    if free < ROOM:
        raise Full


class Files:
    """The identity at this moment of the database ``path``, its write-ahead log, and the lock
    without which a second process would write here too."""

    def __init__(self, path: str) -> None:
        self._paths = (path, f"{path}-wal", f"{path}.lock")
        self._known = [_identity(path) for path in self._paths]

    def check(self) -> None:
        """Raise `Replaced` if there is another file, or none, at one of these paths."""
        for path, known in zip(self._paths, self._known, strict=True):
            if _identity(path) != known:
                raise Replaced(
                    f"{os.path.basename(path)} was deleted, renamed or replaced while it is in use;"
                    " put it back, or start chatd again"
                )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def file_figures(path: str) -> dict[str, tuple[str, float]]:
    """How large the database ``path`` is, its log included, and what is left beside it, as
    `chatd.brokers.interfaces.IBroker.figures`. Nothing where the disk does not tell."""
    try:
        files = (path, f"{path}-wal")
        size = sum(os.path.getsize(file) for file in files if os.path.exists(file))
        free = shutil.disk_usage(os.path.dirname(path)).free
    except OSError:
        return {}
    return {
        "database_size_bytes": ("The database and its write-ahead log.", size),
        "disk_free_bytes": ("What is left on the disk of the database.", free),
    }
