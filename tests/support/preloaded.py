"""Libraries in C that change what a real process meets, by ``LD_PRELOAD`` (ld.so(8))."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where they are; it goes with this process."""
    return tempfile.TemporaryDirectory(prefix="chatd-test-")


@cache
def library(source: Path) -> str:
    """The path of what ``source`` is compiled to, once in each process."""
    made = Path(_folder().name) / f"{source.stem}.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"], check=True
    )
    return str(made)
