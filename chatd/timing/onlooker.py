"""Services that look at something again and again while they run."""

from __future__ import annotations

from abc import ABC, abstractmethod

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Onlooker(Service, ABC):
    """A service whose `_look` is called again and again; each look says when the next one is."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._next: IDelayedCall | None = None

    @abstractmethod
    def _look(self) -> None:
        """Look, and call `_look_in` unless that was the last time."""

    def _look_in(self, seconds: float) -> None:
        self._next = self._clock.callLater(seconds, self._look)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()
