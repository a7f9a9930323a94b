"""Connections beyond the limit: the newest few stay open until they are told why they are refused.
On the HTTP port that takes one request, so that probes are always answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Connections beyond the limit; one more aborts the oldest.
KEPT = 32


class Overflow:
    """The connections beyond the limits of one port."""

    def __init__(self) -> None:
        self._kept: dict[Any, None] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def admit(self, transport: Any) -> Callable[[], None]:
        """Keep ``transport``. Call the returned function when it ends; it may be called twice."""
        self._kept[transport] = None
        if len(self._kept) > KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            oldest.abortConnection()
        return lambda: self._kept.pop(transport, None)
