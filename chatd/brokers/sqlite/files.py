"""Whether the files that are open are still the ones that the next start will find."""

from __future__ import annotations

import os
import sqlite3


class Replaced(sqlite3.OperationalError):
    """The database was deleted, renamed or replaced: what is written now will not be found."""


class Files:
    """The database ``path`` and its write-ahead log, as they are now."""

    def __init__(self, path: str) -> None:
        self._paths = (path, f"{path}-wal")
        self._known = [_identity(path) for path in self._paths]

    def check(self) -> None:
        """Raise `Replaced` if one of them is another file by now, or none."""
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
