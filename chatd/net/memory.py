"""How much memory the process has; what was freed goes back to the system."""

from __future__ import annotations

import ctypes
import os

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Resident:
    """How much of this process is in memory (proc(5), ``statm``). The file stays open, so it can
    be read when no other can be opened."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def bytes(self) -> int:
        return int(os.pread(self._file, 100, 0).split()[1]) * _PAGE

    def close(self) -> None:
        os.close(self._file)


def trim() -> None:
    """Give the system back what the C library keeps of freed memory (malloc_trim(3)). Without this
    glibc keeps what was freed below anything that is still in use, for as long as that is. Does
    nothing where the C library has no such call."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
