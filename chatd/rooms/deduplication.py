"""Deduplication: which records repeat an earlier one, so that publishing is idempotent."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from chatd.protocol.messages import WINDOW, Claim

#: Keys beyond which a table of counts tells most times that a key is not there.
_FEW = 64
#: Entries of that table: two bytes each; two of three new keys are told by it.
_COUNTS = 2500
#: Before there is one: a table for each quiet room would be too much.
_NO_COUNTS = array("H")
#: The time of records before which there is none with a time: later than any.
_NEVER = 1 << 62
#: Stands for a record that is no message: Python's `hash` never returns it.
_NONE = -1


class DeduplicationWindow:
    """The keys of a stream's last `WINDOW` records.

    A record is a repeat if one of the `WINDOW` records before it, repeats included, has its key and
    is at most ``age`` milliseconds older: an id is forgotten with its message. So readers that
    started at different offsets agree after `WINDOW` records (protocol, "AMQP").

    How old a record is must not depend on who asks, or when. So it is not the time that it is shown
    with, which a node's clock has a say in, but what stands in the records: of chatd's own what
    they claim; of another program's what that claims, and no less than chatd's newest one; of one
    without a time that of the record before it.

    The keys and times are kept as 64-bit integers side by side: 23 KB for a busy room, with what
    they are found by. In a dict they would take 100 KB, and each room has a window of its own.

    ``dropped`` is called with each key that falls out.
    """

    def __init__(self, age: int, dropped: Callable[[int], object] | None = None) -> None:
        self._age = age
        self._dropped = dropped
        self._keys = array("q")
        #: The time of each record, in milliseconds.
        self._times = array("q")
        #: The lowest byte of each key, by which keys are found.
        self._low_bytes = bytearray()
        #: Where the next key goes once the window is full.
        self._next = 0
        #: How many of the keys have the same rest, by these; empty while there are few keys.
        self._counts = _NO_COUNTS
        #: The time of the newest record, and what chatd's newest one claims; after how many more
        #: records each is not known any more.
        self._latest, self._latest_for = _NEVER, 0
        self._own, self._own_for = 0, 0

    def may_know(self, key: int) -> bool:
        """A first look, which costs little: False if there surely is no record with ``key``."""
        return not self._counts or bool(self._counts[key % _COUNTS])

    def knows(self, key: int, oldest: int) -> bool:
        """Whether there is a record with ``key`` from ``oldest`` (milliseconds) or later."""
        if self._counts and not self._counts[key % _COUNTS]:
            return False  # as `may_know` says
        keys, times, find, low = self._keys, self._times, self._low_bytes.find, key & 0xFF
        at = find(low)
        while at >= 0 and (keys[at] != key or times[at] < oldest):
            at = find(low, at + 1)
        return at >= 0

    def repeats(self, key: int | None, claim: Claim | None) -> bool:
        """Add the next record, with the time ``claim`` in its body; whether it is a repeat. ``key``
        is None for a record that is no message; it counts all the same."""
        time = self._time_of(claim)
        known = key is not None and self.knows(key, time - self._age if time < _NEVER else -_NEVER)
        self._add(_NONE if key is None else key, time)
        return known

    def _time_of(self, claim: Claim | None) -> int:
        self._latest_for -= 1
        self._own_for -= 1
        if claim is not None:
            self._latest, self._latest_for = claim.time, WINDOW
            if not claim.foreign:
                self._own, self._own_for = claim.time, WINDOW
            elif self._own_for >= 0:
                self._latest = max(claim.time, self._own)
        elif self._latest_for < 0:
            self._latest = _NEVER
        return self._latest

    def _add(self, key: int, time: int) -> None:
        if len(self._keys) < WINDOW:
            self._keys.append(key)
            self._times.append(time)
            self._low_bytes.append(key & 0xFF)
            if len(self._keys) == _FEW:
                self._count_all()
                return
        else:
            oldest, self._keys[self._next] = self._keys[self._next], key
            self._times[self._next] = time
            self._low_bytes[self._next] = key & 0xFF
            self._counts[oldest % _COUNTS] -= 1
            self._next = (self._next + 1) % WINDOW
            if self._dropped is not None:
                self._dropped(oldest)
        if self._counts:
            self._counts[key % _COUNTS] += 1

    def _count_all(self) -> None:
        self._counts = array("H", bytes(2 * _COUNTS))
        for key in self._keys:
            self._counts[key % _COUNTS] += 1
