"""A room on this node: who is subscribed, what was said lately, publish and fan-out.

A room follows its stream while anyone here takes part in it. What the stream brings is the only
thing subscribers ever see; publishing just appends. So all readers, on all nodes, see one order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from chatd.archive import Archive, Page
from chatd.fanout import Audience, once
from chatd.interfaces import (
    IBroker,
    IFollower,
    IFollowing,
    ISubscriber,
    Record,
    Retention,
    Stream,
    Unavailable,
)
from chatd.recent import Budget, Recent, Window
from chatd.sharing import Shared, Waiters
from chatd.subscription import Subscription
from chatd.wire import WINDOW, BadRecord, Content, Cursor, Message, content_key, read_message

if TYPE_CHECKING:
    from chatd.metrics import Metrics

#: Seconds a client waits for the broker before it is told `unavailable`.
PATIENCE = 10.0
#: Seconds a room that nobody takes part in is kept attached.
IDLE = 60.0
#: Seconds before a read that failed is tried again.
RETRY = 1.0
#: Publishes under way in one room.
PENDING = 10_000


@frozen
class Node:
    """What all rooms of a node share."""

    broker: IBroker
    clock: IReactorTime
    archive: Archive
    budget: Budget
    retention: Retention
    metrics: Metrics


class Attachment(Enum):
    """How a room stands to its stream."""

    DETACHED = auto()
    #: The newest records are being read; nothing can be said of the head yet.
    ATTACHING = auto()
    #: Follows at the head.
    LEVEL = auto()
    #: The broker is away; following resumes by itself.
    AWAY = auto()


@implementer(IFollower)
class Room:
    """One life of one room. ``gone`` is called if its stream vanishes from the broker."""

    _log = Logger()

    def __init__(self, stream: Stream, node: Node, gone: Callable[[Room], None]) -> None:
        self.stream = stream
        self.head = -1
        self.attachment = Attachment.DETACHED
        self.recent = Recent(node.budget, node.retention.size)
        self.subscriptions: dict[Subscription, None] = {}
        #: Fires whenever something may have changed for one who waits: messages, or rights.
        self.news: Waiters[None] = Waiters()
        self.node = node
        self._gone = gone
        self._audience = Audience()
        self._window = Window()
        self._publishing: Shared[int, bool] = Shared()
        self._pending = 0
        self._confirmed: dict[int, None] = {}
        self._following: IFollowing | None = None
        self._level: Waiters[None] = Waiters()
        self._truncated = False
        self._stranded: dict[Subscription, None] = {}
        self._busy_until = 0.0

    # -- attaching ---------------------------------------------------------------------------------

    def attach(self) -> Deferred[None]:
        """Follow the stream; fires when the head is known. Fails with `Unavailable` if the broker
        does not answer within `PATIENCE` seconds."""
        self._busy_until = self.node.clock.seconds() + IDLE
        if self.attachment in (Attachment.LEVEL, Attachment.AWAY):
            return succeed(None)
        if self.attachment is Attachment.DETACHED:
            self.attachment = Attachment.ATTACHING
            self._following = self.node.broker.follow(self.stream, WINDOW, self)
        waiter = self._level.wait()
        return waiter.addTimeout(PATIENCE, self.node.clock, _late)

    def detach(self) -> None:
        """Stop following and forget what was read; the room costs next to nothing then."""
        if self._following is not None:
            self._following.stop()
        self._following = None
        self.attachment = Attachment.DETACHED
        self.head = -1
        self.recent.clear(-1)
        self._window = Window()
        self._confirmed = {}

    def renew(self, stream: Stream) -> None:
        """Go on with a new, empty stream: the old one vanished. Subscribers are told of a gap."""
        self.detach()
        self.stream = stream
        for subscription in list(self.subscriptions):
            subscription.gap(-1)
            subscription.restart(-1)
            self._strand(subscription)
        self._audience.clear()
        self.news.fire(None)

    @property
    def idle(self) -> bool:
        """Whether nobody on this node takes part in the room."""
        return not (
            self.subscriptions
            or len(self.news)
            or self._pending
            or self.node.clock.seconds() < self._busy_until
        )

    # -- IFollower ---------------------------------------------------------------------------------

    def caught_up(self, end: int) -> None:
        if self.attachment is Attachment.ATTACHING and self.head < 0:
            self.recent.clear(end)
        self.head = max(self.head, end)
        self.attachment = Attachment.LEVEL
        self._level.fire(None)

    def interrupted(self) -> None:
        if self.attachment is Attachment.LEVEL:
            self.attachment = Attachment.AWAY

    def truncated(self) -> None:
        self._truncated = True

    def gone(self) -> None:
        self._following = None
        self._gone(self)

    def records(self, batch: Sequence[Record]) -> None:
        if self._truncated or self.head < 0:
            self._begin(batch[0].offset - 1)
        messages = [m for record in batch if (m := self._read(record)) is not None]
        self.head = batch[-1].offset
        self.recent.extend(messages)
        if self.attachment is not Attachment.ATTACHING and messages:
            self._fan_out(messages)

    def _begin(self, before: int) -> None:
        """Continue after a gap, or for the first time: all there is comes after ``before``."""
        told = self._truncated
        self._truncated = False
        self.recent.clear(before)
        if told:
            for subscription in self._audience.clear():
                subscription.gap(before)
                subscription.restart(before)
                self._strand(subscription)

    def _read(self, record: Record) -> Message | None:
        cursor = Cursor(self.stream.epoch, record.offset)
        try:
            message = read_message(self.stream.room, cursor, record.body)
        except BadRecord as e:
            self.node.metrics.bad_records.inc()
            self._log.warn(
                "{room} at {offset}: skipped a record that is no message: {why}",
                room=self.stream.room,
                offset=record.offset,
                why=str(e),
            )
            return None
        key = message.key
        self._confirmed.pop(key, None)
        return None if self._window.repeats(key) else message

    # -- fan-out -----------------------------------------------------------------------------------

    def _fan_out(self, messages: Sequence[Message]) -> None:
        delivered = self._audience.send(messages)
        self.node.metrics.delivered.inc(delivered)
        if len(self.news):
            self.news.fire(None)

    def notify(self, frame: dict[str, Any], besides: Subscription | None = None) -> None:
        """Show a passing event (``typing``) to those who can take it now."""
        encode = once(frame)
        for subscription in list(self.subscriptions):
            if subscription is not besides:
                to = subscription.subscriber
                to.notify(encode(to.encoding))

    def presence(self, joined: Sequence[str], left: Sequence[str], count: int) -> None:
        """Tell all subscribers who came and went; both empty above the presence limit."""
        frame: dict[str, Any] = {
            "type": "presence",
            "room": self.stream.room,
            "joined": list(joined),
            "left": list(left),
            "count": count,
        }
        encode = once(frame)
        for subscription in list(self.subscriptions):
            data = encode(subscription.subscriber.encoding)
            subscription.presence(joined, left, count, data)

    # -- subscribing -------------------------------------------------------------------------------

    def subscribe(self, subscriber: ISubscriber, offset: int) -> Subscription:
        """Subscribe after ``offset``. Call `Subscription.resume` to let messages flow."""
        subscription = Subscription(self, subscriber, offset)
        self.subscriptions[subscription] = None
        return subscription

    def unsubscribed(self, subscription: Subscription) -> None:
        self.subscriptions.pop(subscription, None)
        self._stranded.pop(subscription, None)
        self._audience.remove(subscription)

    def went_live(self, subscription: Subscription) -> None:
        """``subscription`` has read all there is; it gets what comes from now on."""
        self._audience.add(subscription)

    def recent_after(self, offset: int, limit: int) -> Sequence[Message] | None:
        """Messages after ``offset`` if memory holds them all; see `Recent.after`."""
        if offset >= self.head:
            return ()
        return self.recent.after(offset, self.oldest(), limit)

    async def page(self, offset: int, limit: int = 128) -> Page:
        """The messages after ``offset``, from memory or the archive."""
        batch = self.recent_after(offset, limit)
        if batch is None:
            return await self.node.archive.page(
                self.stream, offset, self.head, self.oldest(), limit
            )
        return Page(batch, batch[-1].offset if batch else max(offset, self.head), gap=False)

    def oldest(self) -> int:
        """The time (milliseconds) before which messages have expired."""
        return int((self.node.clock.seconds() - self.node.retention.age) * 1000)

    def resume_later(self, subscription: Subscription) -> None:
        """Try again soon: the broker could not be read."""
        self._strand(subscription, RETRY)

    def _strand(self, subscription: Subscription, delay: float = 0) -> None:
        if not self._stranded:
            self.node.clock.callLater(delay, self._resume_stranded)
        self._stranded[subscription] = None

    def _resume_stranded(self) -> None:
        if self.attachment is not Attachment.LEVEL:
            self.node.clock.callLater(RETRY, self._resume_stranded)
            return
        stranded, self._stranded = self._stranded, {}
        for subscription in stranded:
            subscription.resume()

    # -- publishing --------------------------------------------------------------------------------

    def publish(self, content: Content) -> Deferred[bool]:
        """Store a message. Fires with True when it is safe, with False if it was stored before;
        fails with `Unavailable` or `NoSuchStream`. The room must have been attached."""
        key = content_key(content.user, content.id)
        if key in self._window or key in self._confirmed:
            return succeed(False)
        return self._publishing.run(key, lambda: self._append(key, content))

    async def _append(self, key: int, content: Content) -> bool:
        if self.attachment is not Attachment.LEVEL or self._pending >= PENDING:
            raise Unavailable
        time = int(self.node.clock.seconds() * 1000)
        self._pending += 1
        try:
            await self.node.broker.append(self.stream, content.record(time), content.id, time)
        finally:
            self._pending -= 1
        if key not in self._window:
            self._confirmed[key] = None  # until our own follower brings it
        self.node.metrics.published.inc()
        return True


def _late(result: object, timeout: float) -> None:
    raise Unavailable
