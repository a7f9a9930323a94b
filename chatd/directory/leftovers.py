"""The streams that deleted rooms leave behind, deleted in turn."""

from __future__ import annotations

from collections import deque

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from chatd.brokers.interfaces import IBroker, Stream, Unavailable

#: Seconds between tries to delete what is left of rooms.
DELETE_AGAIN = 5.0
#: Streams of deleted rooms, newest first, that are deleted again at start: whoever deleted them
#: may have died in between.
DOOMED = 100


@define(eq=False)
class Leftovers:
    """Deletes streams, again and again while the broker is away. Between `hold` and `release` what
    is to be deleted is only remembered."""

    broker: IBroker
    clock: IReactorTime
    _held: bool = field(default=True, init=False)
    _doomed: deque[Stream] = field(factory=lambda: deque(maxlen=DOOMED), init=False)
    _undeleted: dict[Stream, None] = field(factory=dict, init=False)
    _stopped: bool = field(default=False, init=False)

    def add(self, stream: Stream) -> None:
        """The room of ``stream`` was deleted, or has another one now."""
        if self._held:
            self._doomed.append(stream)
        else:
            self._delete(stream)

    def hold(self) -> None:
        """Remember from now on."""
        self._held = True

    def release(self) -> None:
        """Delete what was remembered, the newest `DOOMED` of it."""
        self._held = False
        for stream in self._doomed:
            self._delete(stream)
        self._doomed.clear()

    def stop(self) -> None:
        """Delete no more."""
        self._stopped = True

    def _delete(self, stream: Stream) -> None:
        if not self._stopped:
            self.broker.delete(stream).addErrback(self._later, stream)

    def _later(self, failure: Failure, stream: Stream) -> None:
        failure.trap(Unavailable)
        if len(self._undeleted) < DOOMED:  # more are deleted at the next start
            self._undeleted[stream] = None
        if len(self._undeleted) == 1:
            self.clock.callLater(DELETE_AGAIN, self._again)

    def _again(self) -> None:
        streams, self._undeleted = self._undeleted, {}
        for stream in streams:
            self._delete(stream)
