"""Readers of a room that wait until they can catch up."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatd.timing.turn_queue import TurnQueue

#: Seconds before a failed read is tried again.
RETRY = 1.0


class WaitingReaders:
    """Readers of one room that wait until the broker can be read."""

    def __init__(self, clock: IReactorTime, turns: TurnQueue) -> None:
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
