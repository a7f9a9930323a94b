"""The mark of a database, in the file ``PATH.mark``: its generation when it was used last.

A database with an older generation than its mark is an earlier copy: a restored backup.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from chatd.protocol.errors import ChatError
from chatd.protocol.json import dump, load_object


@frozen
class Mark:
    """A random id (``life``) of a database, and a ``generation`` that grows while it is written."""

    life: str
    generation: int

    def is_behind(self, other: Mark) -> bool:
        """Whether a database with this mark is an earlier copy of one with the mark ``other``, or
        another database altogether."""
        return self.life != other.life or self.generation < other.generation


def read_mark(path: str) -> Mark | None:
    """The mark of the database ``path``, None if there is none, or it cannot be read."""
    try:
        value = load_object(Path(f"{path}.mark").read_bytes())
        return Mark(str(value["life"]), int(value["generation"]))
    except (OSError, ChatError, KeyError, TypeError, ValueError):
        return None


def write_mark(path: str, mark: Mark) -> None:
    """Replace the mark of the database ``path``; where root does, for the database's owner. Raises
    OSError."""
    new = f"{path}.mark.new"
    with suppress(FileNotFoundError):
        os.unlink(new)  # left behind by a process that was killed here
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() == 0:
            # as SQLite does with the log: a user that cannot read it would notice no restoration
            with suppress(OSError):  # such as a root that may not
                owner = os.stat(path)
                os.fchown(file, owner.st_uid, owner.st_gid)
        os.write(file, dump({"life": mark.life, "generation": mark.generation}) + b"\n")
    finally:
        os.close(file)
    os.rename(new, f"{path}.mark")
