"""After a backup was restored: new epochs for all rooms, so that old cursors are a gap.

Otherwise a cursor from after the backup would be valid again sooner or later, and its reader would
silently get other messages than those it had missed.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatd.brokers.interfaces import DIRECTORY, IBroker, NoSuchStream, Unavailable
from chatd.directory.projection import RESTORE
from chatd.protocol.json import dump
from chatd.timing.wall import WallClock

#: Seconds between attempts to append the event.
RETRY = 1.0


class Restoration:
    """Appends the event that renews all epochs, once. ``due`` until that event was folded."""

    _log = Logger()

    def __init__(self, broker: IBroker, clock: IReactorTime, wall: WallClock) -> None:
        self.due = False
        self._broker = broker
        self._clock = clock
        self._wall = wall
        self._key = ""
        self._told: Callable[[], None] = lambda: None

    def tell(self, told: Callable[[], None]) -> None:
        """Append the event; ``told`` is called when it has been folded."""
        self._told = told
        if not self._key:
            self._log.warn("The rooms come from a backup: all cursors given before are a gap.")
            self._key = token_hex(8)
        event = {"op": RESTORE, "life": token_hex(6), "event": self._key}
        appending: Deferred[Any] = self._broker.append(
            DIRECTORY, dump(event), self._key, self._wall.milliseconds()
        )
        appending.addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        failure.trap(Unavailable, NoSuchStream)
        if self.due:
            self._clock.callLater(RETRY, self.tell, self._told)

    def met(self, key: object) -> None:
        """The event with the id ``key`` has been folded."""
        if self.due and key == self._key:
            self.due = False
            self._broker.restoration_told()
            self._told()
