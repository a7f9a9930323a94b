"""Who reads on: a few in each turn of the reactor, first come, first served.

A thousand who catch up at once would otherwise hold up everyone who is at the head.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: Readers that are handed a page in one turn of the reactor.
A_TURN = 16
#: Seconds before a read that failed is tried again.
RETRY = 1.0


class CatchUpQueue:
    """Calls each of what is added once, soon, in order."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[Callable[[], None], None] = {}

    def add(self, call: Callable[[], None]) -> None:
        """Make ``call`` in a later turn; nothing happens if it waits for one already."""
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
    """Readers of one room that could not read on."""

    def __init__(self, clock: IReactorTime, turns: CatchUpQueue) -> None:
        self._clock = clock
        self._turns = turns
        self._calls: dict[Callable[[], None], None] = {}
        self._retry: IDelayedCall | None = None

    def add(self, call: Callable[[], None], again: bool) -> None:
        """Make ``call`` with the next `resume`; with ``again``, or else soon."""
        self._calls[call] = None
        if again and self._retry is None:
            self._retry = self._clock.callLater(RETRY, self.resume)

    def discard(self, call: Callable[[], None]) -> None:
        """Do not make ``call``."""
        self._calls.pop(call, None)

    def wait(self) -> None:
        """Do not try again before `resume`."""
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None

    def resume(self) -> None:
        """Let all read on."""
        self.wait()
        calls, self._calls = self._calls, {}
        for call in calls:
            self._turns.add(call)
