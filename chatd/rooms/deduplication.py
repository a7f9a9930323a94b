"""The ids a room has seen lately: what makes publishing idempotent."""

from __future__ import annotations

from collections import deque

from chatd.protocol.messages import WINDOW


class DeduplicationWindow:
    """The keys of a room's newest `WINDOW` records: what makes publishing idempotent.

    A record repeats another if its key is among the `WINDOW` records before it. The rule looks at
    records, kept or dropped, so that whoever starts reading anywhere judges alike after
    `WINDOW` records (protocol, section 7).
    """

    def __init__(self) -> None:
        self._keys: deque[int | None] = deque()
        self._count: dict[int | None, int] = {}

    def __contains__(self, key: int) -> bool:
        return key in self._count

    def repeats(self, key: int | None) -> bool:
        """Count one more record in, and tell whether it repeats an earlier one. ``key`` is None
        for a record that is no message, which takes a place all the same."""
        known = self._count.get(key, 0)
        self._count[key] = known + 1
        self._keys.append(key)
        if len(self._keys) > WINDOW:
            self._forget(self._keys.popleft())
        return known > 0

    def _forget(self, key: int | None) -> None:
        left = self._count[key] - 1
        if left:
            self._count[key] = left
        else:
            del self._count[key]
