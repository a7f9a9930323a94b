"""Saying a thing once, however often it happens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Once:
    """Tells what is new from what was seen before. Remembers the ``most`` latest things."""

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
