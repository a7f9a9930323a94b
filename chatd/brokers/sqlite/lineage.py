"""Noticing at start that the database is an earlier copy (a restored backup), or was emptied."""

from __future__ import annotations

import os
import sqlite3

from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.brokers.sqlite.mark import read_mark, write_mark
from chatd.brokers.sqlite.writer import SQLiteWriter


class Lineage:
    """Compares the database ``path`` with its mark (see `chatd.brokers.sqlite.mark`), and keeps the
    mark up to date. ``restored``: it is an earlier copy; the mark is not changed until `told`."""

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.restored = False
        self._path = path
        self._empty = not os.path.exists(path) or not os.path.getsize(path)
        self._marked = True
        if self._empty:
            self._save_log()

    def _save_log(self) -> None:
        """Rename the write-ahead log of an empty database, which SQLite would remove: it may hold
        the only records left."""
        log = f"{self._path}-wal"
        if os.path.exists(log) and os.path.getsize(log):
            os.rename(log, f"{log}.lost")

    def begin(self, writer: SQLiteWriter) -> None:
        """Compare the open database with its mark, and log what is wrong."""
        mark, own = read_mark(self._path), writer.mark()
        if mark is not None and self._empty:
            self._log.error(
                "{path} was empty or gone, where rooms had been kept; they begin anew. To have them"
                " back, stop chatd and restore a backup.",
                path=self._path,
            )
        elif mark is not None and (own is None or own.is_behind(mark)):
            self.restored = True
            self._log.warn(
                "{path} is an earlier copy than the one that was in use: a backup was restored.",
                path=self._path,
            )
            return
        if own is None:
            writer.renew()
            writer.changed = True

    def told(self, writer: SQLiteWriter) -> None:
        """The directory says that the database was restored: make it a database of its own. Call in
        the writer's thread."""
        self.restored = False
        write_mark(self._path, writer.renew())

    def advance(self, writer: SQLiteWriter) -> None:
        """Update the mark, if anything was committed. Call in the writer's thread."""
        if self.restored or not writer.changed:
            return
        mark = writer.advance()
        try:
            if mark is not None:
                write_mark(self._path, mark)
        except OSError:
            writer.changed = True
            raise
        self._marked = True

    def failed(self, failure: Failure) -> None:
        """Log, once, that the mark could not be updated."""
        failure.trap(sqlite3.Error, OSError)
        if self._marked:
            self._marked = False
            self._log.warn(
                "{path}.mark cannot be written: {fault}. A backup that is restored now may not be"
                " noticed; see --restored.",
                path=self._path,
                fault=failure.value,
            )
