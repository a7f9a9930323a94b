"""Remembers what was said already, to say each thing once."""

from __future__ import annotations

from collections.abc import Hashable

#: Things that are remembered: the most recent ones.
MOST = 100


class Once:
    """Tells new things from those seen before."""

    def __init__(self) -> None:
        #: The most recent one stands last.
        self._seen: dict[Hashable, None] = {}

    def __call__(self, thing: Hashable) -> bool:
        """Whether ``thing`` is new."""
        new = thing not in self._seen
        self._seen.pop(thing, None)
        self._seen[thing] = None
        if len(self._seen) > MOST:
            del self._seen[next(iter(self._seen))]
        return new
