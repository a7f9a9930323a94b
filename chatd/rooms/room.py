"""A room on this node: who is subscribed, what was said lately, publish and fan-out.

A room follows its stream while anyone here takes part in it. What the stream brings is the only
thing subscribers ever see; publishing just appends. So all readers, on all nodes, see one order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from chatd.brokers.interfaces import (
    IFollower,
    IFollowing,
    NoSuchStream,
    NotStored,
    Record,
    Stream,
    Unavailable,
)
from chatd.presence.board import News
from chatd.protocol.messages import WINDOW, Content, Message
from chatd.rooms.attachment import RoomState as RoomState
from chatd.rooms.cache import RECENT_MESSAGES, RecentMessages
from chatd.rooms.catch_up import WaitingReaders
from chatd.rooms.context import RoomContext as RoomContext
from chatd.rooms.fanout import LiveSubscriptions, tell, tell_presence
from chatd.rooms.history import PAGE_BYTES, PAGE_MESSAGES, HistoryPage
from chatd.rooms.interfaces import ISubscriber
from chatd.rooms.publisher import RoomPublisher
from chatd.rooms.records import RecordReader
from chatd.rooms.subscription import Subscription
from chatd.timing.singleflight import Waiters

#: Seconds a client waits for the broker before it is told `unavailable`.
PATIENCE = 10.0
#: Seconds a room that nobody takes part in is kept attached.
IDLE = 60.0
#: Records read when a room is attached: the recent messages, and the ids they may repeat.
TAIL = WINDOW + RECENT_MESSAGES


@implementer(IFollower)
class Room:
    """One life of one room. ``gone`` is called if its stream vanishes from the broker."""

    _log = Logger()

    def __init__(self, stream: Stream, node: RoomContext, gone: Callable[[Room], None]) -> None:
        self.stream = stream
        self.head = -1
        self.attachment = RoomState.DETACHED
        self.recent = RecentMessages(node.budget, node.retention.size)
        self.subscriptions: dict[Subscription, None] = {}
        #: Fires whenever something may have changed for one who waits: messages, or rights.
        self.news: Waiters[None] = Waiters()
        self.node = node
        self._reader = RecordReader(stream, node.dating, node.metrics)
        self._gone = gone
        self._audience = LiveSubscriptions()
        self._publisher = RoomPublisher(
            node.broker, node.clock, node.wall, node.counts, self._refresh
        )
        self._following: IFollowing | None = None
        self._level: Waiters[None] = Waiters()
        self._truncated = False
        #: What was there when attaching, until all of it has come.
        self._history: list[Record] = []
        self._stranded = WaitingReaders(node.clock, node.turns)
        self._holders = 0
        self._busy_until = 0.0

    # -- attaching ---------------------------------------------------------------------------------

    def attach(self) -> Deferred[None]:
        """Follow the stream; fires when the head is known. Fails with `Unavailable` if the broker
        does not answer within `PATIENCE` seconds."""
        self.touch()
        if self.attachment in (RoomState.LEVEL, RoomState.AWAY):
            return succeed(None)
        if self.attachment is RoomState.DETACHED:
            self.attachment = RoomState.ATTACHING
            self._following = self.node.broker.follow(self.stream, TAIL, self)
        waiter = self._level.wait()
        return waiter.addTimeout(PATIENCE, self.node.clock, _late)

    def touch(self) -> None:
        """Somebody uses the room: keep it attached for a while."""
        self._busy_until = self.node.clock.seconds() + IDLE

    def detach(self) -> None:
        """Stop following and forget what was read; the room costs next to nothing then."""
        if self._following is not None:
            self._following.stop()
        self._following = None
        self._stranded.wait()
        self.attachment = RoomState.DETACHED
        self.head = -1
        self._history = []
        self._truncated = False
        self.recent.clear(-1)
        self._publisher.forget()
        self._reader.begin(self.stream)
        self._level.fire(None)  # who waits had better look again

    def renew(self, stream: Stream) -> None:
        """Go on with a new, empty stream: the old one vanished. Subscribers are told of a gap."""
        self.detach()
        self.stream = stream
        self._reader.begin(stream)
        self._audience.clear()
        for subscription in self.subscriptions:
            subscription.lost(-1)
        self.news.fire(None)

    @property
    def idle(self) -> bool:
        """Whether nobody on this node takes part in the room."""
        return not (
            self.subscriptions
            or self._holders
            or len(self.news)
            or len(self._publisher)
            or self.node.clock.seconds() < self._busy_until
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Not idle meanwhile."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    # -- IFollower ---------------------------------------------------------------------------------

    def caught_up(self, end: int) -> None:
        if self.attachment is RoomState.ATTACHING:
            self._prime(end)
        elif self._truncated:
            self._resume_after(end)
        self.head = max(self.head, end)
        self.attachment = RoomState.LEVEL
        self._publisher.caught_up()
        self._level.fire(None)
        self._stranded.resume()

    def interrupted(self) -> None:
        if self.attachment is RoomState.LEVEL:
            self.attachment = RoomState.AWAY
            self._stranded.wait()

    def truncated(self) -> None:
        self._truncated = True
        self._history = []

    def gone(self) -> None:
        self._following = None
        # Nothing can be stored here any more. RabbitMQ would go on to confirm publishes if another
        # program's queue takes them.
        self.detach()
        self._gone(self)

    def records(self, batch: Sequence[Record]) -> None:
        if self.attachment is RoomState.ATTACHING:
            self._history += batch
            return
        if self._truncated:
            self._resume_after(batch[0].offset - 1)
        messages = [message for message in self._read(batch) if message is not None]
        self.head = batch[-1].offset
        self._add(messages)

    def _prime(self, end: int) -> None:
        """Know what was said lately, from the history that attaching brought.

        If there is more before it, its first records may repeat ids from there: they serve to know
        ids by, and nothing else.
        """
        history, self._history = self._history, []
        self._truncated = False
        sure = WINDOW if len(history) >= TAIL else 0
        before = history[0].offset - 1 if history else end
        messages: list[Message] = []
        for i, (record, message) in enumerate(zip(history, self._read(history), strict=True)):
            if i < sure:
                before = record.offset
            elif message is not None:
                messages.append(message)
        self.recent.clear(before)
        self.recent.extend(messages)
        self.head = history[-1].offset if history else end

    def _add(self, messages: Sequence[Message]) -> None:
        self.recent.extend(messages)
        oldest = self.oldest()
        fresh = [m for m in messages if not m.expired(oldest)]
        if len(fresh) < len(messages) and self.attachment is RoomState.AWAY:
            # expired while the broker was away
            self._lose(fresh[0].offset - 1 if fresh else messages[-1].offset)
        else:
            self._fan_out(fresh)
        if len(self.news):
            self.news.fire(None)

    def _resume_after(self, before: int) -> None:
        """Go on after a gap: all there is comes after ``before``. Ids seen before it stay known."""
        self._truncated = False
        self.recent.clear(before)
        self._lose(before)

    def _lose(self, upto: int) -> None:
        """Nobody at the head can be given the messages up to the offset ``upto`` any more."""
        for subscription in self._audience.clear():
            subscription.lost(upto)

    def _read(self, batch: Sequence[Record]) -> list[Message | None]:
        """The messages that repeat no other; None for the rest."""
        repeats = self._publisher.repeats
        read = self._reader.read(batch)
        return [None if repeats(one.key if one is not None else None) else one for one in read]

    # -- fan-out -----------------------------------------------------------------------------------

    def _fan_out(self, messages: Sequence[Message]) -> None:
        if messages:
            self.node.metrics.delivered.inc(self._audience.send(messages))

    def notify(self, frame: dict[str, Any], besides: Subscription | None = None) -> None:
        """Show a passing event (``typing``) to those who can take it now."""
        tell(self.subscriptions, frame, besides)

    def presence(self, news: News) -> None:
        """Tell all subscribers who came and went."""
        tell_presence(self.subscriptions, self.stream.room, news)

    # -- subscribing -------------------------------------------------------------------------------

    def subscribe(self, subscriber: ISubscriber, offset: int) -> Subscription:
        """Subscribe after ``offset``. Call `Subscription.resume` to let messages flow."""
        subscription = Subscription(self, subscriber, offset)
        self.subscriptions[subscription] = None
        return subscription

    def unsubscribed(self, subscription: Subscription) -> None:
        self.subscriptions.pop(subscription, None)
        self._stranded.discard(subscription.resume)
        self._audience.remove(subscription)

    def went_live(self, subscription: Subscription) -> None:
        """``subscription`` has read all there is; it gets what comes from now on."""
        self._audience.add(subscription)

    def recent_after(self, offset: int, limit: int) -> Sequence[Message] | None:
        """Messages after ``offset`` if memory holds them all; see `RecentMessages.after`."""
        if offset >= self.head:
            return ()
        return self.recent.after(offset, self.oldest(), limit, PAGE_BYTES)

    async def page(self, offset: int, limit: int = PAGE_MESSAGES) -> HistoryPage:
        """The messages after ``offset``, from memory or the archive. Fails with `Unavailable`."""
        batch = self.recent_after(offset, limit)
        if batch is not None:
            return HistoryPage(
                batch, batch[-1].offset if batch else max(offset, self.head), gap=False
            )
        archive, head = self.node.archive, self.head
        with self.held():
            try:
                return await archive.page(self.stream, offset, head, self.oldest(), limit)
            except NoSuchStream:
                raise Unavailable from None

    def oldest(self) -> int:
        """The time (milliseconds) before which messages have expired."""
        return self.node.wall.oldest(self.node.retention.age)

    @property
    def known(self) -> bool:
        """Whether this node knows the head, so that it can tell what lies after a cursor."""
        return self.attachment in (RoomState.LEVEL, RoomState.AWAY)

    def resume_later(self, subscription: Subscription) -> None:
        """Let ``subscription`` read on once the broker can be read, or be read again."""
        self._stranded.add(subscription.resume, again=self.attachment is RoomState.LEVEL)

    # -- publishing --------------------------------------------------------------------------------

    async def publish(self, content: Content, sender: Hashable | None = None) -> bool:
        """Store a message; what one ``sender`` publishes stays in order. True when the stream has
        brought it, False if it had before; fails with `Unavailable` (`NotStored` where nothing
        was) or `NoSuchStream`. The room must have been attached."""
        if not self.known:
            raise NotStored("the room's stream cannot be read")
        new = await self._publisher.publish(self.stream, content, sender)
        if new:
            self.node.metrics.published.inc()
        return new

    def _refresh(self) -> None:
        if self._following is not None:
            self._following.refresh()


def _late(result: object, timeout: float) -> None:
    raise Unavailable
