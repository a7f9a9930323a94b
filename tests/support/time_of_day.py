"""A time of day that tests set, for real processes: see ``time_of_day.c``."""

from __future__ import annotations

import struct
import tempfile
import time
from pathlib import Path

from tests.support.preloaded import library

_SOURCE = Path(__file__).with_suffix(".c")


class TimeOfDay:
    """What `env` makes a process believe; its monotonic clocks stay as they are."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chatd-test-")
        self._file = Path(self._folder.name) / "ahead"
        self._file.write_bytes(bytes(8))
        self.env = {"LD_PRELOAD": library(_SOURCE), "TIME_OF_DAY": str(self._file)}
        self.ahead = 0

    def set(self, ahead: int) -> None:
        """Let it be ``ahead`` seconds of the true time from now on."""
        self.ahead = ahead
        with self._file.open("r+b") as file:  # it is mapped: at no moment it may be empty
            file.write(struct.pack("q", ahead))

    def seconds(self) -> float:
        """What those processes read now, in seconds since the epoch."""
        return time.time() + self.ahead

    def close(self) -> None:
        """Remove the file. What has read the time by it can go on."""
        self._folder.cleanup()
