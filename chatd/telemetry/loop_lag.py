"""Measures how late the reactor makes its calls, which shows a busy or stuck process first."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from chatd.timing.onlooker import Onlooker

#: Seconds between measurements.
EVERY = 1.0


class LoopLag(Onlooker):
    """Calls ``observe`` every `EVERY` seconds with the seconds by which its own call was late."""

    name = "loop lag"

    def __init__(self, clock: IReactorTime, observe: Callable[[float], object]) -> None:
        super().__init__(clock)
        self._observe = observe
        self._due = 0.0

    def startService(self) -> None:
        """Begin to measure."""
        super().startService()
        self._again()

    def _again(self) -> None:
        self._due = self._clock.seconds() + EVERY
        self._look_in(EVERY)

    def _look(self) -> None:
        self._observe(max(0.0, self._clock.seconds() - self._due))
        self._again()
