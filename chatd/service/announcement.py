"""What the log says of a start: what runs where, and when it is ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from chatd.timing.clock import NodeClock

#: Seconds between looks.
LOOK = 0.1


class Announcement(Service):
    """Logs ``lines`` when the node starts, and when it is ``ready`` for the first time."""

    name = "announcement"
    _log = Logger()

    def __init__(
        self, clock: NodeClock, lines: Sequence[str], ready: Callable[[], bool], reading: str
    ) -> None:
        self._clock = clock
        self._lines = lines
        self._ready = ready
        self._reading = reading
        self._began = 0.0
        self._next: IDelayedCall | None = None

    def startService(self) -> None:
        """Say what is known now."""
        super().startService()
        for line in self._lines:
            self._log.info("{line}", line=line)
        self._began = self._clock.seconds()
        self._look()

    def stopService(self) -> None:
        """Say nothing more."""
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _look(self) -> None:
        if not self._ready():
            self._next = self._clock.callLater(LOOK, self._look)
            return
        took = self._clock.seconds() - self._began
        self._log.info("Ready after {seconds:.1f} s. {hint}", seconds=took, hint=self._reading)
