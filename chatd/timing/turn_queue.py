"""Work that is done a little in each turn of the reactor, so that everyone else is served in
between."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger


class TurnQueue:
    """Makes each added call once, in order, ``a_turn`` of them in each turn of the reactor."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, a_turn: int) -> None:
        self._clock = clock
        self._a_turn = a_turn
        self._waiting: dict[Callable[[], None], None] = {}

    def add(self, call: Callable[[], None]) -> None:
        """Make ``call`` in a later turn. Does nothing if it is queued already."""
        if not self._waiting:
            self._clock.callLater(0, self._turn)
        self._waiting[call] = None

    def _turn(self) -> None:
        calls = list(self._waiting)[: self._a_turn]
        for call in calls:
            del self._waiting[call]
        if self._waiting:
            self._clock.callLater(0, self._turn)
        for call in calls:
            try:
                call()
            except Exception:
                self._log.failure("A call in its turn failed; the others go on.")
