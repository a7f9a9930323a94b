"""After a backup was restored: new epochs for all rooms, so that old cursors are a gap.

Otherwise a cursor from after the backup would be valid again sooner or later, and its reader would
silently get other messages than those it had missed.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.brokers.interfaces import IBroker, NoSuchStream, Unavailable
from chatd.directory.projection import RESTORE

#: Seconds between attempts to append the event.
RETRY = 1.0


class Restoration:
    """Appends the event that renews all epochs, once. ``due`` until that event was folded.
    ``append`` appends an event with an id, and fires when it has been folded."""

    _log = Logger()

    def __init__(
        self,
        broker: IBroker,
        clock: IReactorTime,
        append: Callable[[dict[str, Any], str], Deferred[bool]],
    ) -> None:
        self.due = False
        self._broker = broker
        self._clock = clock
        self._append = append
        self._key = ""
        self._told: Callable[[], None] = lambda: None
        self._again: IDelayedCall | None = None
        self._stopped = False

    def tell(self, told: Callable[[], None]) -> None:
        """Append the event; ``told`` is called when it has been folded. Does nothing the second
        time."""
        if not self._key:
            self._log.warn("The rooms come from a backup: all cursors given before are a gap.")
            self._key, self._told = token_hex(8), told
            self._try()

    def _try(self) -> None:
        event = {"op": RESTORE, "life": token_hex(6)}
        self._append(event, self._key).addCallbacks(self._done, self._failed)

    def _done(self, _: bool) -> None:
        self.due = False
        self._broker.restoration_told()
        self._told()

    def _failed(self, failure: Failure) -> None:
        failure.trap(Unavailable, NoSuchStream)
        if not self._stopped:
            self._again = self._clock.callLater(RETRY, self._try)

    def stop(self) -> None:
        """Try no further."""
        self._stopped = True
        if self._again is not None and self._again.active():
            self._again.cancel()
