"""Things that a ``with`` block ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self


class Closing:
    """Closed at the end of its ``with`` block, whatever ``close`` is: a method, or a finalizer."""

    close: Callable[[], object]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
