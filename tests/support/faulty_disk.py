"""A disk that fails when it is told to, for real processes: see ``faulty_disk.c``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.preloaded import library

_SOURCE = Path(__file__).with_suffix(".c")


class FaultyDisk:
    """What `env` makes a process meet when it writes its database."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chatd-test-")
        self._file = Path(self._folder.name) / "fault"
        self.env = {"LD_PRELOAD": library(_SOURCE), "FAULTY_DISK": str(self._file)}
        self.say("")

    def say(self, fault: str) -> None:
        """Let this be wrong from now on, such as ``write ENOSPC 1``."""
        new = self._file.with_suffix(".new")
        new.write_text(fault)
        new.rename(self._file)

    def close(self) -> None:
        """Remove it."""
        self._folder.cleanup()
