"""The attached rooms of this node: made on first use, detached when idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.access.rights import may_enter
from chatd.brokers.interfaces import Stream, Unavailable
from chatd.directory.directory import Directory
from chatd.directory.projection import ChangeKind, DirectoryChange, RoomEntry
from chatd.directory.unavailable import unavailable
from chatd.presence.board import News
from chatd.protocol.errors import ChatError, Code
from chatd.rooms.context import RoomContext
from chatd.rooms.follower import RoomState
from chatd.rooms.room import Room
from chatd.rooms.subscription import Subscription
from chatd.timing.turn_queue import in_turns

#: Seconds between sweeps for idle rooms.
SWEEP = 15.0
#: Seconds between attempts to give a room a new stream after the old one vanished.
AGAIN = 5.0


class RoomRegistry:
    """The `Room` of each stream, kept in step with the directory."""

    _log = Logger()

    def __init__(self, node: RoomContext, directory: Directory) -> None:
        self.node = node
        self._directory = directory
        self._rooms: dict[Stream, Room] = {}
        #: Streams that vanished from the broker and have no successor yet.
        self._lost: set[Stream] = set()
        self._sweep: IDelayedCall | None = None
        directory.watchers.add(self)
        metrics = node.metrics
        metrics.gauge("rooms", "Rooms that exist.", lambda: len(directory))
        metrics.gauge("rooms_attached", "Rooms followed by this node.", lambda: self.count)
        metrics.gauge("recent_bytes", "Recent messages kept.", lambda: node.budget.used)

    def __iter__(self) -> Iterator[Room]:
        """The rooms of this node."""
        return iter(self._rooms.values())

    @property
    def count(self) -> int:
        """How many rooms this node follows."""
        return len(self._rooms)

    def start(self) -> None:
        """Begin to detach idle rooms."""
        self._sweep = self.node.clock.callLater(SWEEP, self._sweep_idle)

    def stop(self) -> None:
        """Detach all rooms, and let go of all sockets."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for room in self._rooms.values():
            room.detach()
        self._rooms.clear()
        self.node.ring.close()

    async def open(self, entry: RoomEntry) -> Room:
        """The room of ``entry``, attached. Raises `ChatError` unavailable."""
        await self._directory.ensure(entry)
        room = self._rooms.get(entry.stream)
        if room is None:
            room = self._rooms[entry.stream] = Room(entry.stream, self.node, self.lost)
        try:
            await room.attach()
        except Unavailable as e:
            raise unavailable(e).about(entry.name) from None
        return room

    def get(self, entry: RoomEntry) -> Room | None:
        """The room of ``entry`` if it is at its stream's head already, else None."""
        room = self._rooms.get(entry.stream)
        if room is None or room.state is not RoomState.LEVEL:
            return None
        room.touch()
        return room

    def attached(self, entry: RoomEntry) -> Room | None:
        """The room of ``entry`` if this node follows it."""
        return self._rooms.get(entry.stream)

    def show(self, name: str, news: News) -> None:
        """See `PresenceAudience`."""
        entry = self._directory.find(name)
        room = self.attached(entry) if entry is not None else None
        if room is not None:
            room.presence(news)

    def show_typing(self, name: str, user: str) -> None:
        """See `PresenceAudience`."""
        entry = self._directory.find(name)
        room = self.attached(entry) if entry is not None else None
        if room is not None:
            room.notify({"type": "typing", "room": name, "user": user}, besides=user)

    def wake(self) -> None:
        """Wake all waiting polls."""
        for room in list(self._rooms.values()):
            room.waiting.wake()

    def flush(self) -> None:
        """Hand out all messages that have come, without waiting for turns."""
        for room in list(self._rooms.values()):
            room.flush()

    def directory_changed(self, change: DirectoryChange) -> None:
        """See `chatd.directory.watchers.Watcher`."""
        room = self._rooms.get(change.old)
        if room is None:
            return
        if change.what is ChangeKind.DELETED:
            self._delete(room, change.old)
        elif change.what in (ChangeKind.RENEWED, ChangeKind.RESTORED):
            self._renew(room, change.old, change.entry)
        elif change.what is ChangeKind.RESTRICTED:
            self._recheck(room, change.entry, change.user)

    def _delete(self, room: Room, stream: Stream) -> None:
        del self._rooms[stream]
        room.detach()
        error = ChatError(Code.UNKNOWN_ROOM, "The room was deleted.", room=stream.room)
        in_turns(self.node.clock, list(room.subscriptions), lambda one: one.close(error))
        room.waiting.wake()

    def _recheck(self, room: Room, entry: RoomEntry, user: str | None) -> None:
        """Somebody may have lost the right to ``room``: ``user``, or else anybody. A thousand
        changes may come in one turn of the reactor, so none may take as long as the room is
        large."""
        if user is not None and not entry.private:
            return  # everybody may be in it
        concerned = room.subscriptions if user is None else room.subscriptions_of(user)
        error = ChatError(Code.FORBIDDEN, "You may no longer be in this room.", room=entry.name)
        leaving = [s for s in concerned if not may_enter(s.subscriber.identity, entry)]
        for subscription in leaving:  # at once: no message may come before
            subscription.expel(error)
        if leaving:
            in_turns(self.node.clock, leaving, Subscription.tell_why)
        self.node.turns.add(room.waiting.wake)  # once for all changes

    # -- streams that vanish -----------------------------------------------------------------------

    def lost(self, room: Room) -> None:
        """Give ``room`` a new life: its stream vanished from the broker."""
        entry = self._directory.find(room.stream.room)
        if room.stream in self._lost or entry is None or entry.stream != room.stream:
            return  # known already, or the room itself was deleted
        self._lost.add(room.stream)
        self._renew_later(room.stream)

    def _renew_later(self, stream: Stream) -> None:
        if stream not in self._rooms:
            self._lost.discard(stream)
            return
        renewing = Deferred.fromCoroutine(self._directory.renew(stream))
        renewing.addCallback(lambda _: self._lost.discard(stream))
        renewing.addErrback(self._again_later, self._renew_later, stream)

    def _again_later(self, failure: Failure, what: Callable[..., None], *about: Any) -> None:
        if not failure.check(ChatError):
            self._log.failure("Giving a room a new life failed; it is tried again", failure)
        self.node.clock.callLater(AGAIN, what, *about)

    def _renew(self, room: Room, old: Stream, entry: RoomEntry) -> None:
        del self._rooms[old]
        self._rooms[entry.stream] = room
        room.renew(entry.stream)
        self._open_again(room, entry)

    def _open_again(self, room: Room, entry: RoomEntry) -> None:
        if self._rooms.get(entry.stream) is room:
            opening = Deferred.fromCoroutine(self.open(entry))
            opening.addErrback(self._again_later, self._open_again, room, entry)

    def _sweep_idle(self) -> None:
        self._sweep = self.node.clock.callLater(SWEEP, self._sweep_idle)
        in_turns(self.node.clock, list(self._rooms), self._let_go_if_idle)

    def _let_go_if_idle(self, stream: Stream) -> None:
        room = self._rooms.get(stream)
        if room is not None and room.idle:
            room.detach()
            del self._rooms[stream]
