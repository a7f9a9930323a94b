"""A subscriber is a cursor on a room.

At the head it is *live*: the room hands it each batch as it comes. When its transport stops
draining it is simply left *behind*; nothing is kept for it. When the transport drains again it
reads on, from the room's recent messages if its cursor is still there, else page by page from the
archive, and steps back into the live flow in the same call in which it finds nothing more to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from chatd.archive import PAGE_MESSAGES, Page
from chatd.interfaces import ISubscriber, NoSuchStream, Unavailable
from chatd.wire import ChatError, Cursor

if TYPE_CHECKING:
    from chatd.room import Room

#: Comings and goings remembered for a subscriber that is not draining.
MISSED_PRESENCE = 1000


class State(Enum):
    """Where a subscription stands."""

    #: Has yet to read what is after its cursor; the transport is not draining, or will be offered
    #: a page in the same turn.
    BEHIND = auto()
    #: Waits for a page of the archive.
    READING = auto()
    #: At the head: receives what comes.
    LIVE = auto()
    CLOSED = auto()


class Subscription:
    """One subscriber's place in one room. Made by `chatd.room.Room.subscribe`."""

    def __init__(self, room: Room, subscriber: ISubscriber, offset: int) -> None:
        self.room = room
        self.subscriber = subscriber
        self.state = State.BEHIND
        self._offset = offset
        self._missed: dict[str, bool] = {}
        self._count = 0

    @property
    def offset(self) -> int:
        """The offset up to which the subscriber has been handed everything."""
        return self.room.head if self.state is State.LIVE else self._offset

    @property
    def cursor(self) -> Cursor:
        """Resuming after it misses nothing."""
        return Cursor(self.room.stream.epoch, self.offset)

    def resume(self) -> None:
        """Read on from the cursor. The transport calls this whenever it drains again."""
        if self._missed and not self._tell_missed():
            return
        while self.state is State.BEHIND:
            batch = self.room.recent_after(self._offset, PAGE_MESSAGES)
            if batch is None:
                self._read()
            elif not batch:
                self.state = State.LIVE
                self.room.went_live(self)
            else:
                end = batch[-1].offset
                data = self.subscriber.encoding.encode(batch)
                if not self.subscriber.deliver(data, end):
                    return
                self._offset = end

    def fell_behind(self, offset: int) -> None:
        """The transport refused what comes after ``offset``."""
        self.state = State.BEHIND
        self._offset = offset

    def restart(self, offset: int) -> None:
        """Go on after ``offset``, whatever was read before: the room began a new life."""
        if self.state is not State.CLOSED:
            self.state = State.BEHIND
            self._offset = offset

    def stop(self) -> None:
        """The subscriber left. May be called twice."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.room.unsubscribed(self)

    def close(self, error: ChatError) -> None:
        """End the subscription and tell the subscriber why."""
        if self.state is not State.CLOSED:
            self.stop()
            self.subscriber.closed(error)

    def presence(self, joined: Sequence[str], left: Sequence[str], count: int, data: bytes) -> None:
        """Tell of comings and goings, or remember them while the transport is not draining."""
        if self._missed or not self.subscriber.notify(data):
            self._missed |= dict.fromkeys(joined, True) | dict.fromkeys(left, False)
            self._count = count
            while len(self._missed) > MISSED_PRESENCE:
                del self._missed[next(iter(self._missed))]

    def _tell_missed(self) -> bool:
        frame: dict[str, Any] = {
            "type": "presence",
            "room": self.room.stream.room,
            "joined": [u for u, here in self._missed.items() if here],
            "left": [u for u, here in self._missed.items() if not here],
            "count": self._count,
        }
        told = self.subscriber.notify(self.subscriber.encoding.event(frame))
        if told:
            self._missed = {}
        return told

    def _read(self) -> None:
        self.state = State.READING
        page = Deferred.fromCoroutine(self.room.page(self._offset))
        page.addCallbacks(self._got, self._failed)

    def _got(self, page: Page) -> None:
        if self.state is not State.READING:
            return  # left, or sent elsewhere, meanwhile
        self.state = State.BEHIND
        if page.gap and not self._tell_gap(page):
            return
        if page.messages:
            data = self.subscriber.encoding.encode(page.messages)
            if not self.subscriber.deliver(data, page.end):
                return  # it is read again when the transport drains: most likely still shared
        self._offset = page.end
        self.resume()

    def _tell_gap(self, page: Page) -> bool:
        at = page.messages[0].offset - 1 if page.messages else page.end
        told = self.gap(at)
        if told:
            self._offset = at
        return told

    def gap(self, at: int) -> bool:
        """Tell that some messages up to the offset ``at`` are gone; False if not draining."""
        cursor = str(Cursor(self.room.stream.epoch, at))
        frame = {"type": "gap", "room": self.room.stream.room, "cursor": cursor}
        return self.subscriber.notify(self.subscriber.encoding.event(frame))

    def _failed(self, failure: Any) -> None:
        failure.trap(Unavailable, NoSuchStream)
        if self.state is State.READING:
            self.state = State.BEHIND
            self.room.resume_later(self)
