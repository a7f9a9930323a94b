"""Deduplication: which records repeat an earlier one, so that publishing is idempotent."""

from __future__ import annotations

from array import array

from chatd.protocol.messages import WINDOW

#: Keys beyond which a table of counts tells most times that a key is not there.
_FEW = 64
#: Entries of that table, a power of two.
_COUNTS = 4096
#: Stands for a record that is no message: Python's `hash` never returns it.
_NONE = -1


class DeduplicationWindow:
    """The keys of a stream's last `WINDOW` records.

    A record is a repeat if its key is among those of the `WINDOW` records before it, repeats
    included. So readers that started at different offsets agree after `WINDOW` records (protocol,
    section 7).

    The keys are kept as 64-bit integers side by side: 18 KB for a busy room, with what they are
    found by. In a dict they would take 80 KB, and each room has a window of its own.
    """

    def __init__(self) -> None:
        self._keys = array("q")
        #: The lowest byte of each key, by which keys are found.
        self._marks = bytearray()
        #: Where the next key goes once the window is full.
        self._next = 0
        #: How many of the keys end in the same 12 bits, by these; empty while there are few keys.
        self._counts = array("H")

    def __contains__(self, key: int) -> bool:
        if self._counts and not self._counts[key % _COUNTS]:
            return False
        keys, find, mark = self._keys, self._marks.find, key & 0xFF
        at = find(mark)
        while at >= 0 and keys[at] != key:
            at = find(mark, at + 1)
        return at >= 0

    def repeats(self, key: int | None) -> bool:
        """Add the next record; whether it is a repeat. ``key`` is None for a record that is no
        message; it counts all the same."""
        known = key is not None and key in self
        self._add(_NONE if key is None else key)
        return known

    def _add(self, key: int) -> None:
        if len(self._keys) < WINDOW:
            self._keys.append(key)
            self._marks.append(key & 0xFF)
            if len(self._keys) == _FEW:
                self._count_all()
                return
        else:
            oldest, self._keys[self._next] = self._keys[self._next], key
            self._marks[self._next] = key & 0xFF
            self._counts[oldest % _COUNTS] -= 1
            self._next = (self._next + 1) % WINDOW
        if self._counts:
            self._counts[key % _COUNTS] += 1

    def _count_all(self) -> None:
        self._counts = array("H", bytes(2 * _COUNTS))
        for key in self._keys:
            self._counts[key % _COUNTS] += 1
