"""Connections beyond the limits: the newest few are kept for as long as it takes to ask, so that
probes are answered whatever the limits, and everyone else hears why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: How many there are at most; one more takes the place of the oldest.
KEPT = 32


class Overflow:
    """The connections beyond the limits of one port."""

    def __init__(self) -> None:
        self._kept: dict[Any, None] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def admit(self, transport: Any) -> Callable[[], None]:
        """Keep ``transport``; call what is returned when it ends (twice is once)."""
        self._kept[transport] = None
        if len(self._kept) > KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            oldest.abortConnection()
        return lambda: self._kept.pop(transport, None)
