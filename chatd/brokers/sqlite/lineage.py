"""Whether a database goes on from where chatd left it, or is an earlier copy, or empty."""

from __future__ import annotations

import os
import sqlite3

from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.brokers.sqlite.mark import read_mark, write_mark
from chatd.brokers.sqlite.writer import SQLiteWriter


class Lineage:
    """Holds the database ``path`` against its mark (see `chatd.brokers.sqlite.mark`), and lets the
    mark follow. `restored`: it is an earlier copy; until that was told, the mark stays as it is."""

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.restored = False
        self._path = path
        self._empty = not os.path.exists(path) or not os.path.getsize(path)
        self._marked = True
        if self._empty:
            self._save_log()

    def _save_log(self) -> None:
        """SQLite removes the write-ahead log of an empty database; what it holds may be all there
        is left."""
        log = f"{self._path}-wal"
        if os.path.exists(log) and os.path.getsize(log):
            os.rename(log, f"{log}.lost")

    def begin(self, writer: SQLiteWriter) -> None:
        """Look at the database, which is open now, and at its mark."""
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
        """On the writer's thread: everyone can tell that it was restored, so go on from here."""
        self.restored = False
        write_mark(self._path, writer.renew())

    def advance(self, writer: SQLiteWriter) -> None:
        """On the writer's thread: let the mark follow what was committed."""
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
        """The mark could not follow."""
        failure.trap(sqlite3.Error, OSError)
        if self._marked:
            self._marked = False
            self._log.warn(
                "{path}.mark cannot be written: {fault}. A backup that is restored now may not be"
                " noticed; see --restored.",
                path=self._path,
                fault=failure.value,
            )
