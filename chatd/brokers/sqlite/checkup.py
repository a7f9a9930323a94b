"""Checking the integrity of the database in the background."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from twisted.logger import Logger

from chatd.brokers.sqlite.schema import connect


class Checkup:
    """``PRAGMA quick_check`` on a connection of its own."""

    _log = Logger()

    def __init__(self, path: str) -> None:
        self._path = path
        self._db = connect(path)
        self._stopped = False

    def run(self) -> None:
        """Check every page, and log the outcome. Blocks until that is done, or `stop` is called."""
        if self._stopped:
            self._db.close()
            return
        try:
            [found] = self._db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as e:
            if "interrupted" in str(e):
                return
            found = str(e)
        except sqlite3.Error as e:
            found = str(e)
        finally:
            self._db.close()
        if found == "ok":
            self._log.info("{path}: looked through and well", path=self._path)
        else:
            self._log.error(
                "{path} is damaged: {found}. Rooms that can be read are served, the others are"
                " refused; restore a backup (see docs/backup.rst).",
                path=self._path,
                found=" ".join(found.split()),
            )

    def stop(self) -> None:
        """Make `run` return, at once if it has not begun. Call it from another thread."""
        self._stopped = True  # an interrupt ends only what is being done
        with suppress(sqlite3.Error):
            self._db.interrupt()
