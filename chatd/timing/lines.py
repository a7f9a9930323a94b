"""Work that waits in line: of each key one after the other, of different keys side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from contextvars import copy_context
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


class _Line:
    """What waits for the work of one key that is under way.

    Work that ends at once (it is refused, say) lets the next begin in a loop, and not in a call
    inside its own: the line may be longer than Python's stack is deep.
    """

    def __init__(self) -> None:
        self.waiting: deque[Deferred[None]] = deque()
        self.busy = True
        self._letting_in = False

    def let_in(self) -> None:
        """Begin what waits, up to the first that does not end at once."""
        self.busy = False
        if self._letting_in:
            return  # the loop that began this work goes on
        self._letting_in = True
        while self.waiting and not self.busy:
            self.busy = True
            self.waiting.popleft().callback(None)
        self._letting_in = False

    @property
    def empty(self) -> bool:
        """Whether nothing is under way, nor about to begin."""
        return not self.busy and not self._letting_in


class Lines(Generic[K, V]):
    """Lines of work, by key. Its length is the number of those who wait, in all lines."""

    def __init__(self) -> None:
        self._lines: dict[K, _Line] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def run(self, key: K, work: Callable[[], Deferred[V]]) -> Deferred[V]:
        """The outcome of ``work()``, which begins, in the context of this call, when all that was
        run before with ``key`` has ended. Cancelled before that, it does not begin."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
            return maybeDeferred(work).addBoth(self._ended, key, line)
        turn: Deferred[None] = Deferred(line.waiting.remove)
        line.waiting.append(turn)
        self._waiting += 1
        context = copy_context()
        left: Deferred[None] = turn.addBoth(self._leave)
        return left.addCallback(
            lambda _: maybeDeferred(context.run, work).addBoth(self._ended, key, line)
        )

    def _leave(self, result: T) -> T:
        self._waiting -= 1
        return result

    def _ended(self, result: T, key: K, line: _Line) -> T:
        line.let_in()
        if line.empty:
            del self._lines[key]
        return result
