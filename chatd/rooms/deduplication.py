"""Deduplication: which records repeat an earlier one, so that publishing is idempotent."""

from __future__ import annotations

from collections import deque

from chatd.protocol.messages import WINDOW


class DeduplicationWindow:
    """The keys of a stream's last `WINDOW` records.

    A record is a repeat if its key is among those of the `WINDOW` records before it, repeats
    included. So readers that started at different offsets agree after `WINDOW` records (protocol,
    section 7).
    """

    def __init__(self) -> None:
        self._keys: deque[int | None] = deque()
        self._count: dict[int | None, int] = {}

    def __contains__(self, key: int) -> bool:
        return key in self._count

    def repeats(self, key: int | None) -> bool:
        """Add the next record; whether it is a repeat. ``key`` is None for a record that is no
        message; it counts all the same."""
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
