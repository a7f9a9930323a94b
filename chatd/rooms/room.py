"""A room on this node: its subscriptions, reading from it, and publishing to it.

A room follows its stream while anyone on this node takes part in it. Subscribers only ever see what
the stream brings; publishing only appends to it. So all readers, on all nodes, see one order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.brokers.interfaces import NoSuchStream, NotStored, Stream, Unavailable
from chatd.presence.board import News
from chatd.presence.missed import MissedNews
from chatd.protocol.messages import Claim, Content, Message
from chatd.rooms.audience import Audience
from chatd.rooms.cache import RecentMessages
from chatd.rooms.catch_up import WaitingReaders
from chatd.rooms.context import RoomContext
from chatd.rooms.ephemeral import EphemeralEvents
from chatd.rooms.follower import RoomFollower, RoomState
from chatd.rooms.history import PAGE_BYTES, PAGE_MESSAGES, HistoryPage
from chatd.rooms.interfaces import ISubscriber
from chatd.rooms.publisher import RoomPublisher
from chatd.rooms.records import OwnRecords
from chatd.rooms.subscription import Subscription, SubscriptionState
from chatd.timing.turn_queue import WaitingInTurns

#: Seconds that a room is kept attached after its last use.
IDLE = 60.0


class Room:
    """One life of one room. ``gone`` is called if its stream vanishes from the broker."""

    _log = Logger()

    def __init__(self, stream: Stream, node: RoomContext, gone: Callable[[Room], None]) -> None:
        self.subscriptions: dict[Subscription, None] = {}
        #: Wakes waiting polls: there are messages, rights have changed, or the node drains.
        self.waiting = WaitingInTurns(node.turns)
        self.node = node
        self.missed = MissedNews()
        self._gone = gone
        self._audience = Audience(node.fan_out, node.ring, self._count)
        self._ephemeral = EphemeralEvents(node.fan_out, node.clock, self.subscriptions)
        own = OwnRecords()
        self._follower = RoomFollower(stream, node, self, own)
        self._publisher = RoomPublisher(
            node, own, self._follower.refresh, lambda: self._follower.fault
        )
        self._stranded = WaitingReaders(node.clock, node.turns)
        #: Found by `subscriptions_of`, and kept for a turn of the reactor.
        self._by_user: dict[str, list[Subscription]] = {}
        self._holders = 0
        self._busy_until = 0.0

    @property
    def stream(self) -> Stream:
        """The stream of the room's present life."""
        return self._follower.stream

    @property
    def state(self) -> RoomState:
        """How the room stands to its stream."""
        return self._follower.state

    @property
    def head(self) -> int:
        """The offset of the newest record that this node has read, -1 if there is none."""
        return self._follower.head

    @property
    def known(self) -> bool:
        """Whether this node knows the head, so that it can tell what lies after a cursor."""
        return self._follower.known

    @property
    def recent(self) -> RecentMessages:
        """The newest messages, in memory."""
        return self._follower.recent

    # -- attaching ---------------------------------------------------------------------------------

    def attach(self) -> Deferred[None]:
        """Follow the stream; fires when the head is known. Fails with `Unavailable` if the broker
        does not answer in time."""
        self.touch()
        return self._follower.attach()

    def touch(self) -> None:
        """Keep the room attached for another `IDLE` seconds."""
        self._busy_until = self.node.clock.seconds() + IDLE

    def detach(self, stream: Stream | None = None) -> None:
        """Stop following and free the cache; a detached room costs next to nothing. With
        ``stream``, `attach` follows that one next."""
        self.flush()
        self._stranded.wait()
        self._follower.detach(stream)
        self._publisher.forget()

    def renew(self, stream: Stream) -> None:
        """Continue with another stream, from its start. Subscribers are told of a gap."""
        self.detach(stream)
        self._audience.clear()
        for subscription in self.subscriptions:
            subscription.lost(-1)
        self.waiting.wake()

    @property
    def idle(self) -> bool:
        """Whether nobody on this node takes part in the room."""
        return not (
            self.subscriptions
            or self._holders
            or len(self.waiting)
            or len(self._publisher)
            or self.node.clock.seconds() < self._busy_until
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the room from being `idle` inside the ``with`` block."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    # -- what the stream brings: `chatd.rooms.follower.FollowedRoom` -------------------------------

    def seen(self, key: int | None, claim: Claim | None) -> bool:
        return self._publisher.repeats(key, claim)

    def arrived(self, messages: Sequence[Message]) -> None:
        if messages:
            self._audience.send(messages)
        if len(self.waiting):
            self.waiting.wake()

    def _count(self, messages: Sequence[Message], deliveries: int) -> None:
        """``messages`` went out, in so many ``deliveries``."""
        metrics, newest = self.node.metrics, messages[-1]
        metrics.delivered.inc(deliveries)
        # of a batch, the newest stands for all
        metrics.delivered_bytes.inc(deliveries * len(newest.json))
        if newest.dated:
            now = self.node.wall.milliseconds()
            metrics.delivery_seconds.observe(max(0, now - newest.time) / 1000)

    def lost(self, upto: int) -> None:
        for subscription in self._audience.clear():
            subscription.lost(upto)

    def level(self) -> None:
        self._publisher.caught_up()
        self._stranded.resume()

    def interrupted(self) -> None:
        self._stranded.wait()

    def vanished(self) -> None:
        # detached at once: RabbitMQ would go on to confirm publishes if another program's queue
        # takes them
        self.detach()
        self._gone(self)

    # -- subscribing -------------------------------------------------------------------------------

    def subscribe(self, subscriber: ISubscriber, offset: int) -> Subscription:
        """Subscribe after ``offset``. Call `Subscription.resume` to let messages flow."""
        subscription = Subscription(self, subscriber, offset)
        self.subscriptions[subscription] = None
        self._by_user.clear()
        self.node.places.taken += 1
        return subscription

    def unsubscribed(self, subscription: Subscription) -> None:
        if subscription in self.subscriptions:
            del self.subscriptions[subscription]
            self.node.places.taken -= 1
        self._stranded.discard(subscription.resume)
        self._audience.remove(subscription)

    def subscriptions_of(self, user: str) -> Iterator[Subscription]:
        """The subscriptions of ``user``. Who asks for those of many, one after the other, has them
        all looked through once."""
        if not self._by_user and self.subscriptions:
            for one in self.subscriptions:
                self._by_user.setdefault(one.subscriber.identity.user, []).append(one)
            self.node.clock.callLater(0, self._by_user.clear)
        return (one for one in self._by_user.get(user, ()) if one in self.subscriptions)

    def went_live(self, subscription: Subscription) -> None:
        """``subscription`` has read all there is; it gets what comes from now on. May be called
        again when its `ISubscriber.send` has changed."""
        self._audience.add(subscription)

    def resume_later(self, subscription: Subscription) -> None:
        """Resume ``subscription`` when the broker can be read, or in a while if it can be."""
        self._stranded.add(subscription.resume, again=self.state is RoomState.LEVEL)

    def reached(self, subscription: Subscription) -> int:
        """The offset up to which the live ``subscription`` was handed all there is."""
        missing = self._audience.missing(subscription)
        return self.head if missing is None else missing - 1

    def flush(self) -> None:
        """Hand out what has come, without waiting for turns."""
        self._audience.flush()

    @property
    def lagging(self) -> int:
        """How many subscribers are not at the head."""
        return len(self.subscriptions) - len(self._audience)

    def behind(self) -> Iterator[Subscription]:
        """The subscribers that are not at the head."""
        every = self.subscriptions if self.lagging else ()
        return (one for one in every if one.state is not SubscriptionState.LIVE)

    @property
    def lag(self) -> float:
        """See `RoomFollower.lag`."""
        return self._follower.lag

    def notify(self, frame: dict[str, Any], besides: str) -> None:
        """Show an event that is not stored (``typing``) to all subscribers whose transport is
        writable, but to no connection of the user ``besides``."""
        self._ephemeral.notify(frame, besides)

    def presence(self, news: News) -> None:
        """Tell all subscribers who came and went."""
        self._ephemeral.presence(self.stream.room, news)

    # -- reading -----------------------------------------------------------------------------------

    def recent_after(self, offset: int, limit: int) -> Sequence[Message] | None:
        """Messages after ``offset`` if the cache has them all; see `RecentMessages.after`."""
        if offset >= self.head:
            return ()
        return self.recent.after(offset, self.oldest(), limit, PAGE_BYTES)

    async def page(self, offset: int, limit: int = PAGE_MESSAGES, asker: str = "") -> HistoryPage:
        """The messages after ``offset``, from the cache or the broker; ``asker`` is as in
        `History`. Raises `Unavailable`."""
        if not self.known:
            raise Unavailable  # it was deleted, or has lost its stream, since the page before
        batch = self.recent_after(offset, limit)
        if batch is not None:
            return HistoryPage(
                batch, batch[-1].offset if batch else max(offset, self.head), gap=False
            )
        history, head = self.node.history, self.head
        self.node.metrics.catch_up_reads.inc()
        with self.held():
            try:
                return await history.page(self.stream, offset, head, self.oldest(), limit, asker)
            except NoSuchStream:
                raise Unavailable from None

    def oldest(self) -> int:
        """The time (milliseconds since the epoch) before which messages have expired."""
        return self.node.oldest()

    # -- publishing --------------------------------------------------------------------------------

    def publish(self, content: Content, sender: Hashable | None = None) -> Deferred[bool]:
        """Store a message. What one ``sender`` publishes stays in order.

        True when the stream has brought the message back, False if it had the message already.
        Fails with `Unavailable` (`NotStored` where nothing was stored) or `NoSuchStream`. The room
        must have been attached.
        """
        follower = self._follower
        if not follower.known:
            return fail(NotStored("the room's stream cannot be read"))
        stream, began = follower.stream, self.node.clock.seconds()
        return self._publisher.publish(stream, content, sender).addCallbacks(
            self._published, self._not_published, (content, began), errbackArgs=(stream,)
        )

    def _published(self, new: bool, content: Content, began: float) -> bool:
        if new:
            metrics = self.node.metrics
            metrics.published.inc()
            metrics.published_bytes.inc(len(content.text))
            metrics.publish_seconds.observe(self.node.clock.seconds() - began)
        return new

    def _not_published(self, failure: Failure, stream: Stream) -> Failure:
        # the stream may be an old one: the room may have begun a new life while this waited
        if failure.check(NoSuchStream) and self.stream == stream:
            self._gone(self)
        return failure
