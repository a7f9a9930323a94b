"""The session of one connection: its user, and the rooms it has joined."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed

from chatd.access.identity import Identity
from chatd.access.rights import check_entry
from chatd.brokers.interfaces import Unavailable
from chatd.directory.unavailable import unavailable
from chatd.presence.board import Members
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, Code, bad_request
from chatd.protocol.publication import Publication
from chatd.rooms.interfaces import ISubscriber
from chatd.rooms.room import Room
from chatd.rooms.start_position import Start, find
from chatd.rooms.subscription import Subscription
from chatd.service.chat import Chat
from chatd.service.outcomes import Receipt

T = TypeVar("T")
Ready = Callable[[], Coroutine[Any, Any, bool]]

#: Rooms one connection may join.
MAX_ROOMS = 100
#: Seconds between two typing events of one connection in one room.
TYPING = 1.0


@frozen
class Joined:
    """A room was joined. Messages continue after ``cursor`` when ``subscription.resume()`` is
    called, which must be after the client was told."""

    subscription: Subscription
    cursor: Cursor
    members: Members
    gap: bool


@define(eq=False)
class Session:
    """The rooms of one connection."""

    chat: Chat
    identity: Identity
    joined: dict[str, Subscription] = field(factory=dict, init=False)
    _turns: dict[str, DeferredLock] = field(factory=dict, init=False)
    #: Whether the last request about a room that waits for its turn is to join it, or to leave it.
    _wanted: dict[str, bool] = field(factory=dict, init=False)
    #: The searches for messages sent again.
    _searches: set[Deferred[Any]] = field(factory=set, init=False)
    #: When the last typing event was shown, by room (the clock's seconds).
    _typed: dict[str, float] = field(factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    async def join(
        self, name: str, subscriber: ISubscriber, start: Start, ready: Ready | None = None
    ) -> Joined | None:
        """Join the room ``name`` with ``subscriber``, or move the cursor in it. ``ready`` is
        awaited just before, so that the client can take the answer, and tells whether it is there.
        None if it is not, or the session was closed meanwhile. Raises `ChatError`.
        """
        rooms = {*self.joined, *self._wanted} - {n for n, into in self._wanted.items() if not into}
        if name not in rooms and len(rooms) >= MAX_ROOMS:
            raise bad_request(f"At most {MAX_ROOMS} rooms a connection; leave one first.")
        self._wanted[name] = True
        return await self._in_turn(name, lambda: self._join(name, subscriber, start, ready))

    async def _in_turn(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work`` after all earlier requests about the same room."""
        turn = self._turns.setdefault(name, DeferredLock())
        self.chat.waiting += 1
        try:
            await turn.acquire()
            return await self._in_its_turn(name, turn, work)
        finally:
            self.chat.waiting -= 1

    async def _in_its_turn(
        self, name: str, turn: DeferredLock, work: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            return await work()
        finally:
            if turn.waiting:
                # so that this request is answered before the next one begins
                self.chat.clock.callLater(0, turn.release)
            else:
                turn.release()
                del self._turns[name]
                self._wanted.pop(name, None)

    async def _join(
        self, name: str, subscriber: ISubscriber, start: Start, ready: Ready | None
    ) -> Joined | None:
        room = await self.chat.room_to_read(self.identity, name)
        with room.held():  # nobody may be in it yet, and the client may take long to be ready
            return await self._take_part(room, name, subscriber, start, ready)

    async def _take_part(
        self, room: Room, name: str, subscriber: ISubscriber, start: Start, ready: Ready | None
    ) -> Joined | None:
        stream = room.stream
        try:
            place = await find(room, start, self.identity.network)
        except Unavailable as e:
            raise self.chat.unreadable(self.identity, name, e) from None
        if ready is not None and not await ready():
            return None  # the connection has ended, and this session is about to be closed
        # again: the room or the right may be gone by now, or the room may have a new life
        if (await self.chat.entry_now(self.identity, name)).stream != stream:
            raise unavailable()
        if self._closed:
            return None
        before = self.joined.get(name)
        if before is not None:
            before.stop()
        else:
            self._enter(name)
        subscription = room.subscribe(subscriber, place.offset)
        self.joined[name] = subscription
        return Joined(
            subscription, subscription.cursor, self.chat.presence.members(name), place.gap
        )

    def publish(
        self, publication: Publication, identity: Identity | None = None
    ) -> Deferred[Receipt]:
        """Publish to a room, joined or not, after the requests about it that are under way: a join,
        or a message that has to be searched for, or whose room is looked for on other nodes. As
        ``identity``, if that is not None."""
        name, sender = publication.room, identity or self.identity
        if publication.after is None and name not in self._turns:
            entry = self.chat.enterable(sender, name)
            if entry is not None or name in self.joined:
                return self.chat.publish(sender, publication, self, entry)
        came = self.chat.clock.seconds()
        return Deferred.fromCoroutine(self._publish_in_turn(identity, publication, came))

    async def _publish_in_turn(
        self, identity: Identity | None, publication: Publication, came: float
    ) -> Receipt:
        begun = await self._in_turn(
            publication.room, lambda: self._begin(identity, publication, came)
        )
        return await begun

    async def _begin(
        self, identity: Identity | None, publication: Publication, came: float
    ) -> Deferred[Receipt]:
        """Begin to publish, unless the message is stored already; the receipt to come. The next
        request about the room need not wait for that."""
        if publication.after is None:
            await self.chat.admit_publication(identity or self.identity, publication)
        else:
            receipt = await self._search(publication, came)
            if receipt is not None:
                return succeed(receipt)
        return self.chat.publish(identity or self.identity, publication, self)

    async def _search(self, publication: Publication, came: float) -> Receipt | None:
        """See `Chat.repeated`. The search ends with the session."""
        if self._closed:
            raise unavailable()
        search = Deferred.fromCoroutine(self.chat.repeated(self.identity, publication, came))
        self._searches.add(search)
        try:
            return await search
        except CancelledError:
            raise unavailable() from None
        finally:
            self._searches.discard(search)

    async def leave_in_turn(self, name: str) -> None:
        """Leave ``name`` after all earlier requests about it."""
        if name in self._turns:
            self._wanted[name] = False
            await self._in_turn(name, lambda: self._left(name))
        else:
            self.leave(name)

    async def _left(self, name: str) -> None:
        self.leave(name)

    def leave(self, name: str) -> None:
        """Leave ``name``. Does nothing if it is not joined."""
        subscription = self.joined.pop(name, None)
        if subscription is not None:
            subscription.stop()
            self._exit(name)

    def dropped(self, name: str) -> None:
        """Forget ``name``: the room has ended the subscription."""
        if self.joined.pop(name, None) is not None:
            self._exit(name)

    async def typing(self, name: str) -> None:
        """Show the others in ``name`` that this user is typing, at most once in `TYPING` seconds,
        after all earlier requests about it. Raises `ChatError` not_joined."""
        if name in self._turns:
            await self._in_turn(name, lambda: self._typing(name))
        else:
            await self._typing(name)

    async def _typing(self, name: str) -> None:
        subscription = self.joined.get(name)
        if subscription is None:
            raise ChatError(Code.NOT_JOINED, "Join the room first.")
        now = self.chat.clock.seconds()
        if 0.0 <= now - self._typed.get(name, -math.inf) < TYPING:
            return
        self._typed[name] = now
        frame = {"type": "typing", "room": name, "user": self.identity.user}
        subscription.room.notify(frame, besides=self.identity.user)
        self.chat.presence.typing(name, self.identity.user)

    def resume(self) -> None:
        """Read on in every room; to be called when the transport becomes writable."""
        for subscription in list(self.joined.values()):
            subscription.resume()

    def send_changed(self) -> None:
        """The transport's ``send`` has changed; see `chatd.rooms.interfaces.ISubscriber`."""
        for subscription in self.joined.values():
            subscription.send_changed()

    def become(self, identity: Identity) -> None:
        """Continue with renewed rights; rooms that they no longer allow are left."""
        self.identity = identity
        for name, subscription in list(self.joined.items()):
            try:
                check_entry(identity, self.chat.directory.get(name))
            except ChatError as error:
                subscription.close(error)

    def close(self) -> None:
        """Leave all rooms, for good."""
        self._closed = True
        for search in list(self._searches):
            search.cancel()
        for name in list(self.joined):
            self.leave(name)

    def _enter(self, name: str) -> None:
        if self.identity.user:
            self.chat.presence.enter(name, self.identity.user)

    def _exit(self, name: str) -> None:
        self._typed.pop(name, None)
        if self.identity.user:
            self.chat.presence.leave(name, self.identity.user)
