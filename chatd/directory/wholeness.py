"""Making sure that all of the directory has come, before anything is said of it.

A node that starts reads what there is at the host of the broker that it is connected to. Where that
lags behind, it would say that rooms do not exist which others have made, and let in who has been
removed.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.brokers.interfaces import DIRECTORY, IBroker, Lagging, NoSuchStream, Unavailable

#: Seconds between attempts; and for which it is tried where nobody can tell: nothing can be written
#: then, but what there is can be read.
RETRY, PATIENCE = 0.25, 10.0


@define(eq=False)
class Wholeness:
    """Asks the broker for the directory's end until that has come."""

    broker: IBroker
    clock: IReactorTime
    _whole: Callable[[], None] | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)
    _again: IDelayedCall | None = field(default=None, init=False)
    _said: bool = field(default=False, init=False)

    _log = Logger()

    def check(self, whole: Callable[[], None]) -> None:
        """Call ``whole`` when all has come that was there at the time of the call; at once if the
        broker is `IBroker.exact`."""
        self.stop()
        if self.broker.exact:
            whole()
            return
        self._whole, self._began = whole, self.clock.seconds()
        self._ask(whole)

    def stop(self) -> None:
        """Call nothing any more: reading was interrupted, or has ended."""
        self._whole = None
        if self._again is not None and self._again.active():
            self._again.cancel()

    def _ask(self, whole: Callable[[], None]) -> None:
        asked = whole, self.clock.seconds()
        self.broker.end(DIRECTORY).addCallbacks(
            self._sure, self._not_sure, callbackArgs=asked, errbackArgs=asked
        )

    def _sure(self, _: object, whole: Callable[[], None], since: float) -> None:
        if self._whole is whole:
            self.stop()
            whole()

    def _not_sure(self, failure: Failure, whole: Callable[[], None], since: float) -> None:
        failure.trap(Unavailable, NoSuchStream)
        if self._whole is not whole:
            return
        if failure.check(Lagging):
            if not self._said:
                self._log.warn("Waiting for the directory: {why}", why=str(failure.value))
            self._said = True
            # or what shows it was confirmed, and not stored
            self.broker.distrust(DIRECTORY, since)
        elif self.broker.blocked or self.clock.seconds() - self._began >= PATIENCE:
            self._sure(None, whole, since)
            return
        self._again = self.clock.callLater(RETRY, self._ask, whole)
