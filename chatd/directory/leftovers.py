"""Deleting the streams of deleted rooms, until the broker has done so."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from chatd.brokers.interfaces import IBroker, Stream, Unavailable

#: Seconds between attempts to delete streams.
DELETE_AGAIN = 5.0
#: Streams of deleted rooms, newest first, that are deleted again at each start, in case the node
#: that deleted the room died before it had deleted the stream.
DOOMED = 100


class LeftoversState(Enum):
    """What becomes of a stream that is added."""

    HOLDING = auto()
    DELETING = auto()
    STOPPED = auto()


@define(eq=False)
class Leftovers:
    """Deletes streams, and tries again while the broker is away. Until `release`, and after `hold`,
    it only remembers them."""

    broker: IBroker
    clock: IReactorTime
    _state: LeftoversState = field(default=LeftoversState.HOLDING, init=False)
    _held: deque[Stream] = field(factory=lambda: deque(maxlen=DOOMED), init=False)
    _undeleted: dict[Stream, None] = field(factory=dict, init=False)

    def add(self, stream: Stream) -> None:
        """Delete ``stream``: its room was deleted, or has another stream now."""
        if self._state is LeftoversState.HOLDING:
            self._held.append(stream)
        else:
            self._delete(stream)

    def hold(self) -> None:
        """Only remember streams from now on."""
        self._change(LeftoversState.HOLDING)

    def release(self) -> None:
        """Delete the newest `DOOMED` of the remembered streams, and each further one at once."""
        self._change(LeftoversState.DELETING)
        for stream in self._held:
            self._delete(stream)
        self._held.clear()

    def stop(self) -> None:
        """Delete nothing more, for good."""
        self._change(LeftoversState.STOPPED)

    def _change(self, state: LeftoversState) -> None:
        if self._state is not LeftoversState.STOPPED:
            self._state = state

    def _delete(self, stream: Stream) -> None:
        if self._state is not LeftoversState.STOPPED:
            self.broker.delete(stream).addErrback(self._later, stream)

    def _later(self, failure: Failure, stream: Stream) -> None:
        failure.trap(Unavailable)
        if len(self._undeleted) < DOOMED:  # the others are deleted at the next start
            self._undeleted[stream] = None
        if len(self._undeleted) == 1:
            self.clock.callLater(DELETE_AGAIN, self._again)

    def _again(self) -> None:
        streams, self._undeleted = self._undeleted, {}
        for stream in streams:
            self._delete(stream)
