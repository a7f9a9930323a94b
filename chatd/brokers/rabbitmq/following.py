"""Following a stream until it is stopped, through interruptions of the broker.

After an interruption the stream is consumed again from the newest offset seen, inclusive. The
broker clamps silently, so if that record does not come first, it is gone, and perhaps others are.
Of the directory it is the newest record that is asked for: if another one is there, the stream was
deleted meanwhile, and what has its name is a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from random import uniform

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import IFollower, IFollowing, NoSuchStream, Stream, Unavailable
from chatd.brokers.rabbitmq.barriers import BRINGS_NOTHING, PATIENCE, Barriers
from chatd.brokers.rabbitmq.consumer import StreamConsumer
from chatd.brokers.rabbitmq.following_broker import FollowingBroker
from chatd.brokers.rabbitmq.handover import AnotherStream, Handover
from chatd.brokers.rabbitmq.shared_channels import SharedChannel
from chatd.brokers.rabbitmq.tail import Tail

#: Seconds between attempts to consume, at most.
LONGEST = 5.0
#: Seconds after which RabbitMQ's number of records tells of all that were stored before: it counts
#: every 5 s.
COUNTED = 6.0


class FollowingState(Enum):
    """How a following stands to its stream."""

    #: Without a consumer: the broker is away, or has refused.
    AWAY = auto()
    #: Consumes the last chunk, to learn where the stream ends; then what the tail still lacks.
    GATHERING = auto()
    #: Consumes what was in the stream when consuming began.
    CATCHING_UP = auto()
    #: At the head.
    LEVEL = auto()
    STOPPED = auto()


@implementer(IFollowing)
class RabbitMQFollowing:
    """Feeds ``follower`` with ``stream``, from ``tail`` records before its end (None: from the
    first)."""

    _log = Logger()

    def __init__(
        self, broker: FollowingBroker, stream: Stream, tail: int | None, follower: IFollower
    ) -> None:
        self.stream = stream
        self.state = FollowingState.AWAY
        self._broker = broker
        self._tail = tail
        self._gathering = Tail(tail or 0)
        self._handover = Handover(stream, follower, broker.turns)
        self._barriers = Barriers(
            broker.clock,
            lambda name: broker.append_barrier(stream, name),
            lambda: self._handover.end,
        )
        self._consumer: StreamConsumer | None = None
        self._channel: SharedChannel | None = None
        self._failures = 0
        #: Why the broker refuses the stream at present; "" if it does not.
        self.fault = ""
        self._timer: IDelayedCall | None = None

    @property
    def seen(self) -> int | None:
        """The newest offset delivered, fences included; None before the first delivery, -1 if the
        stream is known to be empty."""
        return self._handover.seen

    @property
    def level(self) -> bool:
        """Whether it is at the head, as far as this node can tell."""
        return self.state is FollowingState.LEVEL

    async def end(self) -> int:
        """The offset of the newest record that anyone may have read, when all up to there has been
        passed to the follower; -1 if there never was one. Raises `Unavailable` or
        `NoSuchStream`."""
        await self._barriers.reach()
        return self._handover.end

    async def sync(self, newest: Callable[[Stream], Deferred[int]]) -> None:
        """Return when the follower has all up to ``newest(stream)``, the offset that the host has
        last, fences included; -1 if it does not say. Raises `Unavailable`, when it has not come
        after `PATIENCE` seconds, too."""
        try:
            offset = await newest(self.stream)
            if offset < 0:
                raise Unavailable(BRINGS_NOTHING)
            await self._handover.passed(offset).addTimeout(PATIENCE, self._broker.clock)
        except NoSuchStream:
            raise Unavailable("the stream is gone") from None
        except (TimeoutError, CancelledError):
            raise Unavailable(BRINGS_NOTHING) from None

    # -- what the broker calls ---------------------------------------------------------------------

    def attach(self) -> None:
        """Begin or continue to consume, if the broker is connected."""
        if self._broker.channels is None or self.state is FollowingState.STOPPED:
            return
        seen = self._handover.resume()
        if seen is not None:
            self._consume(FollowingState.CATCHING_UP, seen if seen >= 0 else "first")
        elif self._tail is None:
            self._consume(FollowingState.CATCHING_UP, "first")
        else:
            self._gathering = Tail(self._tail)
            self._consume(FollowingState.GATHERING, "last")

    def lost(self) -> None:
        """The connection to the broker was lost."""
        self._detach()
        self.fault = ""
        self._handover.interrupted()

    def stop(self) -> None:
        if self.state is not FollowingState.STOPPED:
            self._detach()
            self.state = FollowingState.STOPPED
            self._handover.stop()
            self._barriers.stop()
            self._broker.forget(self)

    def refresh(self) -> None:
        # a consumer on a replica may silently get nothing more after a change of leader
        if self.level:
            self._log.warn("{stream} brings nothing; asking anew", stream=self.stream.name)
            self._detach()
            self._handover.refresh()
            self.attach()

    # -- consuming ---------------------------------------------------------------------------------

    def _consume(self, state: FollowingState, start: str | int) -> None:
        channels = self._broker.channels
        assert channels is not None
        self._detach()
        self.state = state
        self._consumer = StreamConsumer(channels.client, self.stream.name, start, self)
        self._channel = channels.attach(self._consumer, apart=self._failures > 0)

    def _detach(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._consumer is not None and self._channel is not None:
            self._consumer.close()
            self._channel.members.discard(self._consumer)
        self._consumer = self._channel = None
        if self.state is not FollowingState.STOPPED:
            self.state = FollowingState.AWAY

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = self._broker.clock.callLater(seconds, then)

    # -- ConsumerOwner -----------------------------------------------------------------------------

    def delivered(self, batch: Sequence[Delivery]) -> None:
        if self.state is FollowingState.GATHERING:
            self._gathering.gathered += batch
            return
        try:
            self._handover.take(batch)
        except AnotherStream:
            self._gone()
        else:
            if (come := self._barriers.among(batch)) is not None:
                self._handover.in_order(come)

    def caught_up(self) -> None:
        self._failures, self.fault = 0, ""
        if self.state is FollowingState.GATHERING:
            start = self._gathering.next_start()
            if start is not None:
                self._consume(FollowingState.GATHERING, start)
                return
            self._handover.take(self._gathering.gathered, self._tail)
            self._gathering.gathered = []
        if self.state is not FollowingState.STOPPED:
            self.state = FollowingState.LEVEL
        if not self.stream.room:
            self._broker.hosting.served()
        self._handover.level()

    def silent(self) -> None:
        consumer = self._consumer
        assert consumer is not None
        if self._broker.blocked and self.seen in (None, -1):
            # no fence would be taken, nor anything else: it is empty if it was when last counted
            self._wait(COUNTED, lambda: self._count(consumer))
            return
        fencing = self._broker.fence(
            self.stream, lambda: consumer.delivered or consumer is not self._consumer
        )
        fencing.addCallback(self._fenced, consumer)
        fencing.addErrback(self._unfenced, consumer)

    def _count(self, consumer: StreamConsumer) -> None:
        counting = self._broker.count(self.stream)
        counting.addErrback(lambda failure: failure.trap(Unavailable) and None)
        counting.addCallback(self._counted, consumer)

    def _counted(self, count: int | None, consumer: StreamConsumer) -> None:
        if consumer is not self._consumer or consumer.delivered:
            return
        if count == 0 and self._broker.blocked:
            self.state = FollowingState.LEVEL
            self._handover.empty()
            self._handover.level()
        else:
            self._detach()
            self._check(self._broker.blocked or BRINGS_NOTHING)

    def detached(self, why: str) -> None:
        self._detach()
        if why:
            self._broker.leader_changed()
            self._check(why)
        else:
            self.attach()

    # -- the broker refused ------------------------------------------------------------------------

    def _check(self, why: str) -> None:
        """Find out whether the stream still exists before consuming again, which ended for the
        reason ``why``."""
        asking = self._broker.exists(self.stream)
        asking.addErrback(lambda failure: bool(failure.trap(Unavailable)))
        asking.addCallback(self._checked, why)

    def _checked(self, there: bool, why: str) -> None:
        # the broker may have reconnected, or the following been stopped, since it was asked
        if self.state is not FollowingState.AWAY or self._timer is not None:
            return
        if not there:
            self._gone()
        elif self._broker.channels is not None:
            self._failures += 1
            self.fault = why
            self._handover.interrupted()
            self._wait(
                uniform(0.5, 1.0) * min(LONGEST, 0.1 * 2.0 ** min(self._failures, 10)), self.attach
            )
            self._broker.channels.refused(self.stream.name, self._failures, why)
            if not self.stream.room:
                self._broker.hosting.refused(why)

    def _gone(self) -> None:
        self._handover.gone()
        self.stop()

    def _fenced(self, came: bool, consumer: StreamConsumer) -> Deferred[None] | None:
        """If none of the fences comes, either they are stored and the stream ends before our
        offset, because it is another stream of the same name; or they are not stored, although they
        were confirmed; or the host that we read from lags behind. Where one more is stored tells
        which, and nothing else does: who takes a stream for gone gives up what is in it."""
        if came or consumer is not self._consumer:
            return None
        return self._broker.place_of_barrier(self.stream).addCallback(self._placed, consumer)

    def _placed(self, offset: int, consumer: StreamConsumer) -> None:
        if consumer is self._consumer and not consumer.delivered:
            if self.seen is not None and offset <= self.seen:
                self._gone()
            else:
                self._detach()
                self._check(BRINGS_NOTHING)

    def _unfenced(self, failure: Failure, consumer: StreamConsumer) -> None:
        failure.trap(Unavailable, NoSuchStream)
        if consumer is self._consumer:
            self._detach()
            self._check(str(failure.value))
