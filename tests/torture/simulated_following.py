"""A follower of a stream that another process keeps, over the simulated network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from zope.interface import implementer

from chatd.brokers.interfaces import IFollower, IFollowing, Record, Stream
from chatd.brokers.memory.broker import MemoryBroker
from chatd.brokers.memory.log import FollowingState
from tests.torture.simulated_network import Wire


class Followed(Protocol):
    """The broker that is followed, as one node has it."""

    hub: MemoryBroker
    out: Wire
    back: Wire
    ready: bool

    def forget(self, following: SimulatedFollowing) -> None:
        """It has stopped."""


@implementer(IFollower, IFollowing)
class SimulatedFollowing:
    """One follower: towards the node an `IFollowing`, towards the streams an `IFollower`."""

    fault = ""

    def __init__(
        self, broker: Followed, stream: Stream, tail: int | None, follower: IFollower
    ) -> None:
        self._broker = broker
        self._stream = stream
        self._tail = tail
        self._follower = follower
        self._state = FollowingState.STARTING
        self._inner: Any = None
        self._handed: int | None = None
        #: How often it has begun, as the node knows, and as the broker does.
        self._life = 0
        self._brought_for = 0
        self.blind = False

    def begin(self) -> None:
        """Follow from after the last record handed over."""
        self._life += 1
        self.blind = False
        self._broker.out.send(self._attach, self._life)

    def _attach(self, life: int) -> None:
        """At the broker."""
        if life != self._life:
            return
        self._brought_for = life
        before = self._inner
        if before is None or before.log is None or self._handed is None:
            if before is not None:
                before.stop()
            self._inner = self._broker.hub.follow(self._stream, self._tail, self)
        elif before.state is FollowingState.STOPPED:
            self._inner = self._broker.hub.follow(self._stream, 0, self)
        else:
            before.position, before.state = self._handed + 1, FollowingState.STARTING
            before.wake(self._stream)

    def interrupt(self) -> None:
        """The broker is away."""
        self._life += 1
        if self._state in (FollowingState.LIVE, FollowingState.REFRESHING):
            self._state = FollowingState.STARTING
            self._follower.interrupted()

    def refresh(self) -> None:
        if self._state is FollowingState.LIVE and self._broker.ready:
            self._state = FollowingState.REFRESHING
            self._follower.interrupted()
            self.begin()

    def found_out(self) -> None:
        """It was noticed that the broker had lost sight of this follower."""
        if self.blind and self._broker.ready:
            self.interrupt()
            self.begin()

    def stop(self) -> None:
        self._state = FollowingState.STOPPED
        self._life += 1
        self._broker.forget(self)
        if self._inner is not None:
            self._inner.stop()

    # -- what the streams bring, at the broker's end -----------------------------------------------

    def records(self, batch: Sequence[Record]) -> None:
        self._bring(self._records, batch)

    def caught_up(self, end: int) -> None:
        self._bring(self._caught_up, end)

    def interrupted(self) -> None:
        """The streams themselves are never away."""

    def truncated(self) -> None:
        self._bring(lambda: self._follower.truncated())

    def gone(self) -> None:
        self._bring(self._gone)

    def _bring(self, call: Callable[..., None], *args: Any) -> None:
        if not self.blind:
            self._broker.back.send(self._arrived, self._brought_for, call, args)

    def _arrived(self, life: int, call: Callable[..., None], args: Any) -> None:
        if life == self._life and self._state is not FollowingState.STOPPED:
            call(*args)

    def _records(self, batch: Sequence[Record]) -> None:
        self._handed = batch[-1].offset
        self._follower.records(batch)

    def _caught_up(self, end: int) -> None:
        self._state = FollowingState.LIVE
        self._handed = end if self._handed is None else max(self._handed, end)
        self._follower.caught_up(end)

    def _gone(self) -> None:
        self.stop()
        self._follower.gone()
