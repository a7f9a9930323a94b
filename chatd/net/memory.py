"""How much memory the process has; what was freed goes back to the system."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of the process that are in memory (proc(5), ``statm``)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def trim() -> None:
    """Give the system back what the C library keeps of freed memory (malloc_trim(3)). Without this
    glibc keeps what was freed below anything that is still in use, for as long as that is. Does
    nothing where the C library has no such call."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
