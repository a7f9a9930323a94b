"""Remembers what was said already, to say each thing once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Once:
    """Tells new things from those seen before. Remembers the ``most`` recent ones."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def __call__(self, thing: Hashable) -> bool:
        """Whether ``thing`` is new."""
        new = thing not in self._seen
        self._seen[thing] = None
        self._seen.move_to_end(thing)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return new
