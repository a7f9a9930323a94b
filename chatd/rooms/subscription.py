"""A subscription: one client's cursor in one room.

At the head of the stream a subscription is *live*: the room hands it each batch as it arrives. When
its transport refuses a batch, the subscription falls *behind*; nothing is buffered for it. When the
transport is writable again it catches up, from the room's cache if its cursor is still in there,
else page by page from the broker. In the call in which it finds nothing more to read it is live
again, so no message can slip between.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.brokers.interfaces import Stream, Unavailable
from chatd.presence.board import News
from chatd.presence.missed import ListedBefore, MissedNews
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.protocol.messages import Message
from chatd.rooms.context import RoomContext
from chatd.rooms.history import PAGE_MESSAGES, HistoryPage
from chatd.rooms.interfaces import ISubscriber


class SubscriptionState(Enum):
    """How a subscription stands to the head of its room's stream."""

    #: Has messages to read after its cursor. Its transport is not writable, or a page is about to
    #: be offered to it.
    BEHIND = auto()
    #: Waits for a page from the broker.
    READING = auto()
    #: At the head: gets each batch as it arrives.
    LIVE = auto()
    CLOSED = auto()


class Source(Protocol):
    """What a subscription needs of its room."""

    node: RoomContext
    missed: MissedNews

    @property
    def stream(self) -> Stream:
        """The stream of the room's present life."""

    @property
    def head(self) -> int:
        """The offset of the newest record that this node has read."""

    def reached(self, subscription: Subscription) -> int:
        """The offset up to which the live ``subscription`` was handed all there is."""

    @property
    def known(self) -> bool:
        """Whether ``head`` is known."""

    def recent_after(self, offset: int, limit: int) -> Sequence[Message] | None:
        """Up to ``limit`` messages after ``offset``, None if the cache does not hold them all."""

    async def page(self, offset: int, limit: int, asker: str) -> HistoryPage:
        """A page of messages after ``offset``, from the cache or the broker; ``asker`` is as in
        `History`. Raises `Unavailable`."""

    def went_live(self, subscription: Subscription) -> None:
        """Hand ``subscription`` each batch from now on. Called again when its subscriber's ``send``
        has changed."""

    def resume_later(self, subscription: Subscription) -> None:
        """Resume ``subscription`` when the broker can be read."""

    def unsubscribed(self, subscription: Subscription) -> None:
        """Forget ``subscription``, which has ended."""

    def notify(self, frame: dict[str, Any], besides: str) -> None:
        """Send an event that is not stored to all subscribers but the user ``besides``."""


class Subscription:
    """One subscriber's cursor in one room. Made by `chatd.rooms.room.Room.subscribe`."""

    _log = Logger()

    def __init__(self, room: Source, subscriber: ISubscriber, offset: int) -> None:
        self.room = room
        self.subscriber = subscriber
        self.state = SubscriptionState.BEHIND
        self._offset = offset
        #: Whether the subscriber must still be told that messages before ``_offset`` are gone.
        self._gap = False
        #: Why it was ended, while the subscriber does not know.
        self._why: ChatError | None = None
        #: What its list of members was before the presence news that the subscriber has not been
        #: told yet, and the latest of these.
        self._missed: tuple[ListedBefore, News] | None = None

    @property
    def offset(self) -> int:
        """The offset up to which everything was delivered to the subscriber."""
        return self.room.reached(self) if self.state is SubscriptionState.LIVE else self._offset

    @property
    def behind(self) -> int:
        """How many offsets it is behind the head."""
        return max(0, self.room.head - self.offset)

    @property
    def cursor(self) -> Cursor:
        """The cursor at `offset`."""
        return Cursor(self.room.stream.life, self.offset)

    def resume(self) -> None:
        """Read on from the cursor. To be called whenever the transport becomes writable."""
        if (
            self.state is SubscriptionState.CLOSED
            or not self._tell_missed()
            or not self._tell_gap()
        ):
            return
        while self.state is SubscriptionState.BEHIND:
            if not self.room.known:
                self.room.resume_later(self)
                return
            batch = self.room.recent_after(self._offset, PAGE_MESSAGES)
            if batch is None:
                self._read()
                return
            if not batch:
                self.state = SubscriptionState.LIVE
            elif not self._deliver(batch, batch[-1].offset):
                return
        self.send_changed()

    def send_changed(self) -> None:
        """To be called when the subscriber's ``send`` has changed."""
        if self.state is SubscriptionState.LIVE:
            self.room.went_live(self)

    def _deliver(self, messages: Sequence[Message], end: int) -> bool:
        if messages:
            data = self.subscriber.encoding.encode(messages)
            if not self.subscriber.deliver(data, end):
                return False
        self._offset = end
        return True

    def fell_behind(self, offset: int) -> None:
        """The transport refused the messages after ``offset``."""
        if self.state is SubscriptionState.LIVE:
            self.state = SubscriptionState.BEHIND
            self._offset = offset

    def lost(self, offset: int) -> None:
        """Tell the subscriber of a gap, and continue after ``offset``: the broker no longer has the
        messages up to there."""
        if self.state is not SubscriptionState.CLOSED:
            self.state = SubscriptionState.BEHIND
            self._offset = offset
            self._gap = True
            self.room.node.turns.add(self.resume)

    def stop(self) -> None:
        """End the subscription. May be called twice."""
        self._why = None
        if self.state is not SubscriptionState.CLOSED:
            self.state = SubscriptionState.CLOSED
            self.room.unsubscribed(self)

    def close(self, error: ChatError) -> None:
        """End the subscription and tell the subscriber why."""
        self.expel(error)
        self.tell_why()

    def expel(self, error: ChatError) -> None:
        """End the subscription; the subscriber is not told why before `tell_why`."""
        if self.state is not SubscriptionState.CLOSED:
            self.stop()
            self._why = error

    def tell_why(self) -> None:
        """Tell a subscriber who was expelled, unless it has stopped the subscription since."""
        why, self._why = self._why, None
        if why is not None:
            self.subscriber.closed(why)

    def presence(self, news: News, data: bytes) -> None:
        """Send presence news, encoded as ``data``; keep it for later while the transport is not
        writable."""
        if self._missed is not None:
            self._missed = self._missed[0], news
        elif not self.subscriber.notify(data):
            self._missed = self.room.missed.begin(news), news

    def _tell_missed(self) -> bool:
        if self._missed is None:
            return True
        listed, latest = self._missed
        frame = latest.since(listed.now()).frame(self.room.stream.room)
        told = self.subscriber.notify(self.subscriber.encoding.event(frame))
        if told:
            self._missed = None
        return told

    def gap(self) -> None:
        """Tell the subscriber that messages before its cursor are gone, now or when the transport
        is writable."""
        self._gap = True
        self._tell_gap()

    def _tell_gap(self) -> bool:
        if not self._gap:
            return True
        cursor = str(Cursor(self.room.stream.life, self.offset))
        frame = {"type": "gap", "room": self.room.stream.room, "cursor": cursor}
        told = self.subscriber.notify(self.subscriber.encoding.event(frame))
        self._gap = not told
        if told:
            self.gap_told()
        return told

    def gap_told(self) -> None:
        """Count that the subscriber was told of a gap."""
        self.room.node.metrics.gaps.inc()

    def _read(self) -> None:
        self.state = SubscriptionState.READING
        place = (self.room.stream, self._offset)
        asker = self.subscriber.identity.network
        page = Deferred.fromCoroutine(self.room.page(self._offset, PAGE_MESSAGES, asker))
        page.addCallbacks(self._got, self._failed, (place,))

    def _got(self, page: HistoryPage, place: tuple[Stream, int]) -> None:
        if self.state is not SubscriptionState.READING or place != (self.room.stream, self._offset):
            return  # the subscription ended, or was moved, while the page was read
        self.state = SubscriptionState.BEHIND
        if page.gap:
            self._offset = page.messages[0].offset - 1 if page.messages else page.end
            self._gap = True
        # a page that is refused is read again later, most likely from the block cache
        if self._tell_gap() and self._deliver(page.messages, page.end):
            self.room.node.turns.add(self.resume)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(Unavailable):
            self._log.failure("Reading {room} failed.", failure, room=self.room.stream.room)
        if self.state is SubscriptionState.READING:
            self.state = SubscriptionState.BEHIND
            self.room.resume_later(self)
