"""Single flight: one piece of asynchronous work shared by all who ask for it meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from chatd.timing.turn_queue import TurnQueue

K = TypeVar("K")
V = TypeVar("V")


class Waiters(Generic[V]):
    """Deferreds that fire together: all at once, or, with ``turns``, the first at once and the
    others in their turns. Each may be cancelled on its own."""

    def __init__(self, turns: TurnQueue | None = None) -> None:
        self._waiting: dict[Deferred[V], None] = {}
        self._turns = turns

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Deferred[V]:
        """A Deferred that fires with the next `fire`."""
        waiter: Deferred[V] = Deferred(self._leave)
        self._waiting[waiter] = None
        return waiter

    def _leave(self, waiter: Deferred[V]) -> None:
        self._waiting.pop(waiter, None)

    def fire(self, result: V | Failure) -> None:
        """Fire all Deferreds that `wait` has returned since the last `fire`."""
        waiting, self._waiting = self._waiting, {}
        now = list(waiting)
        if self._turns is not None:
            now, later = now[:1], now[1:]
            for waiter in later:  # before what the first one may add
                self._turns.add(partial(_fire, waiter, result))
        for waiter in now:
            _fire(waiter, result)


def _fire(waiter: Deferred[V], result: V | Failure) -> None:
    if waiter.called:  # it was cancelled, perhaps by one before it
        return
    if isinstance(result, Failure):
        waiter.errback(result)
    else:
        waiter.callback(result)


class SingleFlight(Generic[K, V]):
    """Work under way, by key. Further callers with the same key get the same outcome; ``turns`` are
    those of `Waiters`, for callers who then do much themselves."""

    def __init__(self, turns: TurnQueue | None = None) -> None:
        self._running: dict[K, Waiters[V]] = {}
        self._turns = turns

    def __len__(self) -> int:
        """How many pieces of work are under way."""
        return len(self._running)

    def idle(self, key: K) -> bool:
        """Whether nothing is under way for ``key``."""
        return key not in self._running

    def join(self, key: K) -> Deferred[V]:
        """The outcome of the work under way for ``key``; KeyError if there is none."""
        return self._running[key].wait()

    def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> Deferred[V]:
        """The outcome of the work under way for ``key``, or else of ``work()``, started now."""
        return self.share(key, lambda: Deferred.fromCoroutine(work()))

    def share(self, key: K, work: Callable[[], Deferred[V]]) -> Deferred[V]:
        """As `run`, of work that is no coroutine; what it raises at once is an outcome, too."""
        waiters = self._running.get(key)
        if waiters is not None:
            return waiters.wait()
        waiters = self._running[key] = Waiters(self._turns)
        waiter = waiters.wait()

        def done(result: V | Failure) -> None:
            del self._running[key]
            waiters.fire(result)

        maybeDeferred(work).addBoth(done)
        return waiter
