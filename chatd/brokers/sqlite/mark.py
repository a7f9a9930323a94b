"""What chatd remembers of its database outside of it, in ``PATH.mark``: how far it had come.

A database that has come less far than its mark is an earlier copy: a backup that was restored.
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
    """One database, by a random ``life``, and a number that grows while it is written to."""

    life: str
    generation: int

    def is_behind(self, other: Mark) -> bool:
        """Whether a database with this mark is an earlier copy of one with the ``other``, or
        another database altogether."""
        return self.life != other.life or self.generation < other.generation


def read_mark(path: str) -> Mark | None:
    """The mark beside the database ``path``; None if there is none that can be read."""
    try:
        value = load_object(Path(f"{path}.mark").read_bytes())
        return Mark(str(value["life"]), int(value["generation"]))
    except (OSError, ChatError, KeyError, TypeError, ValueError):
        return None


def write_mark(path: str, mark: Mark) -> None:
    """Put the mark beside the database; OSError if that cannot be done."""
    new = f"{path}.mark.new"
    with suppress(FileNotFoundError):
        os.unlink(new)  # of one who died here
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, dump({"life": mark.life, "generation": mark.generation}) + b"\n")
    finally:
        os.close(file)
    os.rename(new, f"{path}.mark")
