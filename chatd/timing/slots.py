"""A semaphore.

`twisted.internet.defer.DeferredSemaphore` lets the next one begin inside the call that ends the one
before. If work ends at once, for instance because the broker has just gone, each begins inside the
other, and a thousand that wait are more than Python's stack holds. Here they begin in a loop.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred, succeed


class Slots:
    """A semaphore of ``size``. Its length is the number of those who wait."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[Deferred[None]] = deque()
        self._letting_in = False

    def __len__(self) -> int:
        return len(self._waiting)

    def acquire(self) -> Deferred[None]:
        """Fires when a slot is free, which is the caller's then until `release`. May be cancelled
        before that."""
        if self._free and not self._waiting:
            self._free -= 1
            return succeed(None)
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        return turn

    def release(self) -> None:
        """Give back a slot that was acquired; whoever waits may begin."""
        self._free += 1
        if self._letting_in:
            return  # the loop in which this one began goes on
        self._letting_in = True
        while self._waiting and self._free:
            self._free -= 1
            self._waiting.popleft().callback(None)
        self._letting_in = False
