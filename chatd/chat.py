"""What a client may ask of the domain, whatever the transport; every right is checked here."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from chatd.auth import Identity
from chatd.catalogue import Entry
from chatd.directory import Directory, unavailable
from chatd.interfaces import NoSuchStream, Unavailable
from chatd.limits import Deadline, Deadlines
from chatd.opening import After, Now, Start, find
from chatd.presence import Presence
from chatd.room import Room
from chatd.rooms import Rooms, allowed
from chatd.wire import (
    ChatError,
    Code,
    Content,
    Cursor,
    Message,
    check_content,
    message_id,
    room_name,
)

#: Seconds that a poller counts as present after its poll.
POLLER_PRESENT = 90.0


@frozen
class Receipt:
    """A message is safe. ``new`` is False if this node knew the id to be stored already."""

    id: str
    new: bool


@frozen
class Answer:
    """What a poll returns: messages, and the cursor to poll again with."""

    messages: Sequence[Message]
    cursor: Cursor
    gap: bool


@define(eq=False)
class Chat:
    """The domain of one node."""

    clock: IReactorTime
    directory: Directory
    rooms: Rooms
    presence: Presence
    deadlines: Deadlines
    max_text: int = 16 * 1024
    draining: bool = False
    _pollers: dict[tuple[str, str], Deadline] = field(factory=dict, init=False)

    # -- rights ------------------------------------------------------------------------------------

    def entry(self, identity: Identity, name: str) -> Entry:
        """The room called ``name``; `ChatError` if there is none, or not for ``identity``."""
        entry = self.directory.get(name)
        if not allowed(identity, entry):
            raise ChatError(
                Code.FORBIDDEN,
                "You may not enter this room; ask its owner to add you as a member.",
                room=name,
            )
        return entry

    async def room(self, identity: Identity, name: str) -> Room:
        """The room called ``name``, attached, for ``identity`` to read or write."""
        entry = self.entry(identity, name)
        room = self.rooms.get(entry) or await self.rooms.open(entry)
        self.entry(identity, name)  # it may be gone, or closed to us, by now
        return room

    # -- publishing --------------------------------------------------------------------------------

    async def publish(
        self, identity: Identity, room: object, text: object, data: object = None, id: object = None
    ) -> Receipt:
        """Publish what a client sent, unchecked as it is. The message is safe when this returns."""
        name = room_name(room)
        key = message_id(id) if id is not None else token_hex(8)
        checked, more = check_content(text, data, self.max_text)
        try:
            there = await self.room(identity, name)
            new = await there.publish(Content(identity.user, key, checked, more))
        except Unavailable:
            raise unavailable() from None
        except NoSuchStream:
            self.rooms.lost(there)
            raise unavailable() from None
        return Receipt(key, new)

    # -- reading -----------------------------------------------------------------------------------

    async def poll(
        self, identity: Identity, name: str, start: Start, limit: int, wait: float
    ) -> Answer:
        """The messages from ``start`` on, at most ``limit``; with ``wait``, the next ones within
        that many seconds if there are none yet."""
        until = self.clock.seconds() + wait
        room = await self.room(identity, name)
        try:
            place = await find(room, start)
            epoch = room.stream.epoch
            if isinstance(start, Now):
                return Answer((), Cursor(epoch, place.offset), gap=False)
            offset = place.offset
            while True:
                page = await room.page(offset, limit)
                if page.messages or page.gap or place.gap:
                    return Answer(page.messages, Cursor(epoch, page.end), gap=page.gap or place.gap)
                offset = page.end
                left = until - self.clock.seconds()
                if left <= 0 or self.draining:
                    return Answer((), Cursor(epoch, place.offset), gap=False)
                await room.news.wait().addTimeout(left, self.clock, lambda *_: None)
                if self.entry(identity, name).stream.epoch != epoch:
                    # a new life of the room: its messages are read from the start
                    return await self.poll(
                        identity, name, After(Cursor(epoch, place.offset)), limit, 0
                    )
        except Unavailable:
            raise unavailable() from None

    def polled(self, name: str, user: str) -> None:
        """A named poller shows itself: it is present for a while."""
        deadline = self._pollers.get((name, user))
        when = self.clock.seconds() + POLLER_PRESENT
        if deadline is not None:
            deadline.move(when)
            return
        self.presence.enter(name, user)
        self._pollers[name, user] = self.deadlines.at(when, lambda: self._unpolled(name, user))

    def _unpolled(self, name: str, user: str) -> None:
        del self._pollers[name, user]
        self.presence.leave(name, user)
