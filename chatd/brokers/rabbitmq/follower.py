"""Following a stream for as long as someone wants it, through whatever happens to the broker.

After an interruption a following asks again from the newest offset it saw, inclusive. The broker
clamps silently, so if that record does not come first it is gone, and others may be with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from random import uniform
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import IFollower, IFollowing, NoSuchStream, Stream, Unavailable
from chatd.brokers.rabbitmq.consumer import StreamConsumer
from chatd.brokers.rabbitmq.records import is_fence, records
from chatd.brokers.rabbitmq.shared_channels import SharedChannel, SharedChannels
from chatd.timing.wall import WallClock

#: Seconds between attempts, at most.
LONGEST = 5.0


class FollowerState(Enum):
    """Where a following stands."""

    #: Not attached: the broker is away or said no, or nobody asked yet.
    AWAY = auto()
    #: At the last chunk, to learn the end; or before that, gathering the tail asked for.
    GATHERING = auto()
    #: Being brought what was there when (re)started.
    CATCHING_UP = auto()
    #: At the head.
    LEVEL = auto()
    STOPPED = auto()


class FollowingBroker(Protocol):
    """What a following needs of its broker."""

    clock: IReactorTime
    wall: WallClock
    #: None while the broker is away.
    lanes: SharedChannels | None

    def fence(self, stream: Stream, done: Callable[[], bool]) -> Deferred[bool]:
        """Append fences to the stream itself until ``done()``, or in vain (False); `Unavailable`,
        `NoSuchStream`."""

    def newest(self, stream: Stream) -> Deferred[int]:
        """The offset of the last record or fence; `Unavailable`, `NoSuchStream`."""

    def leader_changed(self) -> None:
        """Some stream may have another leader."""

    def exists(self, stream: Stream) -> Deferred[bool]:
        """Whether there is such a stream; `Unavailable`."""

    def forget(self, following: RabbitMQFollowing) -> None:
        """It has stopped."""


class _Tail:
    """The newest ``wanted`` records, gathered from the end backwards in as few steps as it takes.

    Offsets skip, so a step may bring fewer records than offsets.
    """

    def __init__(self, wanted: int) -> None:
        self.gathered: list[Delivery] = []
        self._wanted = wanted
        self._start = -1
        self._lowest = -1

    def next_start(self) -> int | None:
        """From which offset to gather again; None if there is enough, or no more."""
        lowest, end = self.gathered[0].offset, self.gathered[-1].offset
        had = sum(1 for one in self.gathered if one.body or not is_fence(one))
        if had >= self._wanted or lowest in (0, self._lowest) or self._start == 0:
            return None
        self._lowest = lowest
        before = end + 1 if self._start < 0 else self._start
        self._start = max(0, before - self._wanted * 9 // 8 - 64)
        self.gathered = []
        return self._start


@implementer(IFollowing)
class RabbitMQFollowing:
    """One follower of one stream, ``tail`` records from its end (None: from the first) and on."""

    _log = Logger()

    def __init__(
        self, helper: FollowingBroker, stream: Stream, tail: int | None, follower: IFollower
    ) -> None:
        self.stream = stream
        self.place = FollowerState.AWAY
        self._helper = helper
        self._follower = follower
        self._tail = tail
        self._gathering = _Tail(tail or 0)
        #: The newest offset that came, fences included (None: nothing ever came), and the offset
        #: of the newest record.
        self._seen: int | None = None
        self._end = -1
        #: Whether the follower believes to be at the head, and whether to look for a gap.
        self._told_level = False
        self._resuming = False
        self._attachment: StreamConsumer | None = None
        self._lane: SharedChannel | None = None
        self._failures = 0
        self._timer: IDelayedCall | None = None

    @property
    def seen(self) -> int | None:
        """The newest offset that came, fences included; None if nothing did."""
        return self._seen

    @property
    def level(self) -> bool:
        """Whether it is at the head, as far as is known here."""
        return self.place is FollowerState.LEVEL

    # -- what the broker calls ---------------------------------------------------------------------

    def attach(self) -> None:
        """Begin, or go on: the broker is there."""
        if self._helper.lanes is None or self.place is FollowerState.STOPPED:
            return
        if self._seen is not None:
            self._resuming = True
            self._consume(FollowerState.CATCHING_UP, self._seen)
        elif self._tail is None:
            self._consume(FollowerState.CATCHING_UP, "first")
        else:
            self._gathering = _Tail(self._tail)
            self._consume(FollowerState.GATHERING, "last")

    def lost(self) -> None:
        """The broker went away."""
        self._detach()
        self._interrupted()

    def stop(self) -> None:
        if self.place is not FollowerState.STOPPED:
            self._detach()
            self.place = FollowerState.STOPPED
            self._helper.forget(self)

    def refresh(self) -> None:
        # A consumer on a replica may be left behind, without a word, when a stream changes leaders.
        if self.place is FollowerState.LEVEL:
            self._log.warn("{stream} brings nothing; asking anew", stream=self.stream.name)
            self.lost()
            self.attach()

    # -- attaching ---------------------------------------------------------------------------------

    def _consume(self, place: FollowerState, start: str | int) -> None:
        lanes = self._helper.lanes
        assert lanes is not None
        self._detach()
        self.place = place
        self._attachment = StreamConsumer(lanes.client, self.stream.name, start, self)
        self._lane = lanes.attach(self._attachment, apart=self._failures > 0)

    def _detach(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._attachment is not None and self._lane is not None:
            self._attachment.close()
            self._lane.members.discard(self._attachment)
        self._attachment = self._lane = None
        if self.place is not FollowerState.STOPPED:
            self.place = FollowerState.AWAY

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = self._helper.clock.callLater(seconds, then)

    # -- Owner of the attachment -------------------------------------------------------------------

    def delivered(self, batch: Sequence[Delivery]) -> None:
        if self.place is FollowerState.GATHERING:
            self._gathering.gathered += batch
        else:
            self._take(batch)

    def caught_up(self) -> None:
        self._failures = 0
        if self.place is FollowerState.GATHERING:
            start = self._gathering.next_start()
            if start is not None:
                self._consume(FollowerState.GATHERING, start)
                return
            self._take(self._gathering.gathered, self._tail)
            self._gathering.gathered = []
        if self.place is not FollowerState.STOPPED:
            self.place = FollowerState.LEVEL
        if not self._told_level:
            self._told_level = True
            self._tell(self._follower.caught_up, self._end)

    def silent(self) -> None:
        attachment = self._attachment
        assert attachment is not None
        fencing = self._helper.fence(
            self.stream, lambda: attachment.delivered or attachment is not self._attachment
        )
        fencing.addCallback(self._fenced, attachment)
        fencing.addErrback(self._unfenced, attachment)

    def detached(self, suspect: bool) -> None:
        self._detach()
        if suspect:
            self._helper.leader_changed()
            self._check()
        else:
            self.attach()

    # -- handing over ------------------------------------------------------------------------------

    def _take(self, batch: Sequence[Delivery], most: int | None = None) -> None:
        """Hand over what is new in ``batch``, only the newest ``most`` records if that is given."""
        seen = self._seen
        if self._resuming and seen is not None:
            self._resuming = False
            if batch[0].offset > seen + 1:
                self._tell(self._follower.truncated)
        if seen is not None and batch[0].offset <= seen:
            batch = [one for one in batch if one.offset > seen]
        if not batch:
            return
        fresh = records(batch, self.stream)
        self._seen = batch[-1].offset
        if fresh:
            self._end = fresh[-1].offset
        elif seen is None:
            self._end = batch[0].offset - 1
        if most is not None:
            fresh = fresh[len(fresh) - min(most, len(fresh)) :]
        if fresh:
            self._tell(self._follower.records, fresh)

    def _interrupted(self) -> None:
        if self._told_level:
            self._told_level = False
            self._tell(self._follower.interrupted)

    def _tell(self, call: Callable[..., Any], *args: object) -> None:
        if self.place is FollowerState.STOPPED:
            return
        try:
            call(*args)
        except Exception:
            self._log.failure("A follower of {stream} failed", stream=self.stream.name)

    # -- the broker refused ------------------------------------------------------------------------

    def _check(self) -> None:
        """Find out whether the stream is still there before trying again."""
        asking = self._helper.exists(self.stream)
        asking.addErrback(lambda failure: bool(failure.trap(Unavailable)))
        asking.addCallback(self._checked)

    def _checked(self, there: bool) -> None:
        # meanwhile the broker may have gone and come, or the follower stopped
        if self.place is not FollowerState.AWAY or self._timer is not None:
            return
        if not there:
            self._gone()
        elif self._helper.lanes is not None:
            self._failures += 1
            self._interrupted()
            self._wait(
                uniform(0.5, 1.0) * min(LONGEST, 0.1 * 2.0 ** min(self._failures, 10)), self.attach
            )

    def _gone(self) -> None:
        follower = self._follower
        self._tell(follower.gone)
        self.stop()

    def _fenced(self, came: bool, attachment: StreamConsumer) -> Deferred[None] | None:
        """If the fences are stored and none comes, the stream ends before our place: it is another
        one of the same name. Or none is stored, whatever was said; its end tells."""
        if came or attachment is not self._attachment:
            return None
        return self._helper.newest(self.stream).addCallback(self._ends, attachment)

    def _ends(self, end: int, attachment: StreamConsumer) -> None:
        if attachment is self._attachment and not attachment.delivered:
            if self._seen is not None and end < self._seen:
                self._gone()
            else:
                self._detach()
                self._check()

    def _unfenced(self, failure: Failure, attachment: StreamConsumer) -> None:
        failure.trap(Unavailable, NoSuchStream)
        if attachment is self._attachment:
            self._detach()
            self._check()
