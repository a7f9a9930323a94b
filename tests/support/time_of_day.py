"""A time of day that tests set, for real processes: libfaketime, of Debian's ``faketime``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path


class TimeOfDay:
    """What `env` makes a process believe; its monotonic clocks stay as they are.

    ``late``: seconds after which a process looks again at what was set. Without, it looks whenever
    it reads the time, which takes most of its time.
    """

    def __init__(self, late: int = 0) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chatd-test-")
        self._file = Path(self._folder.name) / "offset"
        [library] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.env |= {"FAKETIME_CACHE_DURATION": f"{late}"} if late else {"FAKETIME_NO_CACHE": "1"}
        self.ahead = 0
        self.set(0)

    def set(self, ahead: int) -> None:
        """Let it be ``ahead`` seconds of the true time from now on."""
        self.ahead = ahead
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+d}\n")
        new.rename(self._file)  # at no moment it is empty

    def seconds(self) -> float:
        """What those processes read now, in seconds since the epoch."""
        return time.time() + self.ahead

    def close(self) -> None:
        """Remove the file, and what processes that were killed have left in shared memory."""
        self._folder.cleanup()
        for left in Path("/dev/shm").glob("*faketime_s*_*"):
            pid = left.name.rpartition("_")[2]
            if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
                left.unlink(missing_ok=True)
