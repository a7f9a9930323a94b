"""Work that waits for its turn, in order.

`twisted.internet.defer.DeferredSemaphore` lets the next one begin inside the call that ends the one
before. If work ends at once, for instance because the broker has just gone, each begins inside the
other, and a thousand that wait are more than Python's stack holds. Here they begin in a loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from contextvars import copy_context
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


class Slots:
    """A semaphore of ``size``. Its length is the number of those who wait."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._waiting: deque[Deferred[None]] = deque()
        self._letting_in = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nobody has a slot, or waits for one."""
        return self._free == self._size and not self._waiting and not self._letting_in

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


class Lines(Generic[K, V]):
    """Work of each key one after the other, of different keys side by side. Its length is the
    number of pieces of work that wait, in all lines."""

    def __init__(self) -> None:
        self._lines: dict[K, Slots] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def run(self, key: K, work: Callable[[], Deferred[V]]) -> Deferred[V]:
        """The outcome of ``work()``, which begins, in the context of this call, when all that was
        run before with ``key`` has ended. Cancelled before that, it does not begin."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Slots(1)
        turn = line.acquire()
        if turn.called:
            return maybeDeferred(work).addBoth(self._ended, key, line)
        self._waiting += 1
        context = copy_context()
        left: Deferred[None] = turn.addBoth(self._leave)
        return left.addCallback(
            lambda _: maybeDeferred(context.run, work).addBoth(self._ended, key, line)
        )

    def _leave(self, result: T) -> T:
        self._waiting -= 1
        return result

    def _ended(self, result: T, key: K, line: Slots) -> T:
        line.release()
        if line.idle:
            del self._lines[key]
        return result
