"""A subscriber is a cursor on a room.

At the head it is *live*: the room hands it each batch as it comes. When its transport stops
draining it is simply left *behind*; nothing is kept for it. When the transport drains again it
reads on, from the room's recent messages if its cursor is still there, else page by page from the
archive, and steps back into the live flow in the same call in which it finds nothing more to read.
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
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.protocol.messages import Message
from chatd.rooms.context import RoomContext
from chatd.rooms.history import PAGE_MESSAGES, HistoryPage
from chatd.rooms.interfaces import ISubscriber


class SubscriptionState(Enum):
    """Where a subscription stands."""

    #: Has yet to read what is after its cursor; the transport is not draining, or will be offered
    #: a page in the same turn.
    BEHIND = auto()
    #: Waits for a page of the archive.
    READING = auto()
    #: At the head: receives what comes.
    LIVE = auto()
    CLOSED = auto()


class Source(Protocol):
    """What a subscription reads from: a room."""

    stream: Stream
    #: The offset of the newest record that was handed over here.
    head: int
    node: RoomContext

    @property
    def known(self) -> bool:
        """Whether ``head`` is known, so that it can be told what lies after a cursor."""

    def recent_after(self, offset: int, limit: int) -> Sequence[Message] | None:
        """Messages after ``offset`` if memory holds them all."""

    async def page(self, offset: int, limit: int = PAGE_MESSAGES) -> HistoryPage:
        """The messages after ``offset``, from memory or the archive. Fails with `Unavailable`."""

    def went_live(self, subscription: Subscription) -> None:
        """It has read all there is, and gets what comes from now on."""

    def resume_later(self, subscription: Subscription) -> None:
        """Let it read on once the broker can be read."""

    def unsubscribed(self, subscription: Subscription) -> None:
        """It has ended."""

    def notify(self, frame: dict[str, Any], besides: Subscription | None = None) -> None:
        """Show a passing event to all but ``besides``."""


class Subscription:
    """One subscriber's place in one room. Made by `chatd.rooms.room.Room.subscribe`."""

    _log = Logger()

    def __init__(self, room: Source, subscriber: ISubscriber, offset: int) -> None:
        self.room = room
        self.subscriber = subscriber
        self.state = SubscriptionState.BEHIND
        self._offset = offset
        #: Whether the subscriber has yet to be told that what came before ``_offset`` is gone.
        self._gap = False
        #: The first and the latest comings and goings that it has yet to be told of.
        self._missed: tuple[News, News] | None = None

    @property
    def offset(self) -> int:
        """The offset up to which the subscriber has been handed everything."""
        return self.room.head if self.state is SubscriptionState.LIVE else self._offset

    @property
    def cursor(self) -> Cursor:
        """Resuming after it misses nothing."""
        return Cursor(self.room.stream.life, self.offset)

    def resume(self) -> None:
        """Read on from the cursor. The transport calls this whenever it drains again."""
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
                self.room.went_live(self)
            elif not self._deliver(batch, batch[-1].offset):
                return

    def _deliver(self, messages: Sequence[Message], end: int) -> bool:
        if messages:
            data = self.subscriber.encoding.encode(messages)
            if not self.subscriber.deliver(data, end):
                return False
        self._offset = end
        return True

    def fell_behind(self, offset: int) -> None:
        """The transport refused what comes after ``offset``."""
        if self.state is SubscriptionState.LIVE:
            self.state = SubscriptionState.BEHIND
            self._offset = offset

    def lost(self, offset: int) -> None:
        """Go on after ``offset``, whatever was read before: what comes up to there is gone."""
        if self.state is not SubscriptionState.CLOSED:
            self.state = SubscriptionState.BEHIND
            self._offset = offset
            self._gap = True
            self.room.node.turns.add(self.resume)

    def stop(self) -> None:
        """The subscriber left. May be called twice."""
        if self.state is not SubscriptionState.CLOSED:
            self.state = SubscriptionState.CLOSED
            self.room.unsubscribed(self)

    def close(self, error: ChatError) -> None:
        """End the subscription and tell the subscriber why."""
        if self.state is not SubscriptionState.CLOSED:
            self.stop()
            self.subscriber.closed(error)

    def presence(self, news: News, data: bytes) -> None:
        """Tell of comings and goings, or remember them while the transport is not draining."""
        if self._missed is not None:
            self._missed = self._missed[0], news
        elif not self.subscriber.notify(data):
            self._missed = news, news

    def _tell_missed(self) -> bool:
        if self._missed is None:
            return True
        first, latest = self._missed
        frame = latest.since(first).frame(self.room.stream.room)
        told = self.subscriber.notify(self.subscriber.encoding.event(frame))
        if told:
            self._missed = None
        return told

    def gap(self) -> None:
        """Tell that messages before the cursor are gone, now or once the transport drains."""
        self._gap = True
        self._tell_gap()

    def _tell_gap(self) -> bool:
        if not self._gap:
            return True
        cursor = str(Cursor(self.room.stream.life, self.offset))
        frame = {"type": "gap", "room": self.room.stream.room, "cursor": cursor}
        told = self.subscriber.notify(self.subscriber.encoding.event(frame))
        self._gap = not told
        return told

    def _read(self) -> None:
        self.state = SubscriptionState.READING
        place = (self.room.stream, self._offset)
        page = Deferred.fromCoroutine(self.room.page(self._offset))
        page.addCallbacks(self._got, self._failed, (place,))

    def _got(self, page: HistoryPage, place: tuple[Stream, int]) -> None:
        if self.state is not SubscriptionState.READING or place != (self.room.stream, self._offset):
            return  # left, or sent elsewhere, meanwhile
        self.state = SubscriptionState.BEHIND
        if page.gap:
            self._offset = page.messages[0].offset - 1 if page.messages else page.end
            self._gap = True
        # what is refused is read again when the transport drains: most likely still shared
        if self._tell_gap() and self._deliver(page.messages, page.end):
            self.room.node.turns.add(self.resume)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(Unavailable):
            self._log.failure("Reading {room} failed.", failure, room=self.room.stream.room)
        if self.state is SubscriptionState.READING:
            self.state = SubscriptionState.BEHIND
            self.room.resume_later(self)
