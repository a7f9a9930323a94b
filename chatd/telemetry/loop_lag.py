"""Measures how late the reactor makes its calls, which shows a busy or stuck process first."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between measurements.
EVERY = 1.0


class LoopLag(Service):
    """Calls ``observe`` every `EVERY` seconds with the seconds by which its own call was late."""

    name = "loop lag"

    def __init__(self, clock: IReactorTime, observe: Callable[[float], object]) -> None:
        self._clock = clock
        self._observe = observe
        self._due = 0.0
        self._next: IDelayedCall | None = None

    def startService(self) -> None:
        """Begin to measure."""
        super().startService()
        self._again()

    def stopService(self) -> None:
        """Stop measuring."""
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _again(self) -> None:
        self._due = self._clock.seconds() + EVERY
        self._next = self._clock.callLater(EVERY, self._look)

    def _look(self) -> None:
        self._observe(max(0.0, self._clock.seconds() - self._due))
        self._again()
