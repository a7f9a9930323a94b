"""What the log says of a start: what runs where, and when it is ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.logger import Logger

from chatd.timing.clock import NodeClock
from chatd.timing.onlooker import Onlooker

#: Seconds between looks.
LOOK = 0.1


class Announcement(Onlooker):
    """Logs ``lines`` when the node starts, and when it is ``ready`` for the first time."""

    name = "announcement"
    _log = Logger()

    def __init__(
        self, clock: NodeClock, lines: Sequence[str], ready: Callable[[], bool], reading: str
    ) -> None:
        super().__init__(clock)
        self._lines = lines
        self._ready = ready
        self._reading = reading
        self._began = 0.0

    def startService(self) -> None:
        """Say what is known now."""
        super().startService()
        for line in self._lines:
            self._log.info("{line}", line=line)
        self._began = self._clock.seconds()
        self._look()

    def _look(self) -> None:
        if not self._ready():
            self._look_in(LOOK)
            return
        took = self._clock.seconds() - self._began
        self._log.info("Ready after {seconds:.1f} s. {hint}", seconds=took, hint=self._reading)
