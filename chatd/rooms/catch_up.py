"""Catching up, a few subscriptions in each turn of the reactor, in order of request.

Otherwise a thousand clients that catch up at once would delay everyone at the head.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: Calls made in one turn of the reactor.
A_TURN = 16
#: Seconds before a failed read is tried again.
RETRY = 1.0


class CatchUpQueue:
    """Makes each added call once, in order, a few in each turn of the reactor."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[Callable[[], None], None] = {}

    def add(self, call: Callable[[], None]) -> None:
        """Make ``call`` in a later turn. Does nothing if it is queued already."""
        if not self._waiting:
            self._clock.callLater(0, self._turn)
        self._waiting[call] = None

    def _turn(self) -> None:
        calls = list(self._waiting)[:A_TURN]
        for call in calls:
            del self._waiting[call]
        if self._waiting:
            self._clock.callLater(0, self._turn)
        for call in calls:
            try:
                call()
            except Exception:
                self._log.failure("A reader's turn failed; the others go on.")


class WaitingReaders:
    """Readers of one room that wait until the broker can be read."""

    def __init__(self, clock: IReactorTime, turns: CatchUpQueue) -> None:
        self._clock = clock
        self._turns = turns
        self._calls: dict[Callable[[], None], None] = {}
        self._retry: IDelayedCall | None = None

    def add(self, call: Callable[[], None], again: bool) -> None:
        """Make ``call`` at the next `resume`; with ``again``, after `RETRY` seconds at most."""
        self._calls[call] = None
        if again and self._retry is None:
            self._retry = self._clock.callLater(RETRY, self.resume)

    def discard(self, call: Callable[[], None]) -> None:
        """Forget ``call``."""
        self._calls.pop(call, None)

    def wait(self) -> None:
        """Stop retrying until `resume` is called."""
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None

    def resume(self) -> None:
        """Queue all waiting calls."""
        self.wait()
        calls, self._calls = self._calls, {}
        for call in calls:
            self._turns.add(call)
