"""The projection of directory events: the rooms and members that they add up to. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, auto
from hashlib import sha256
from typing import Any

from attrs import define, evolve, field, frozen

from chatd.brokers.interfaces import Stream
from chatd.protocol.cursors import epoch
from chatd.protocol.names import room_name, user_name
from chatd.protocol.timestamps import FIRST, LAST

#: The ``op`` of an event that changes nothing (`chatd.directory.readiness`).
PROBE = "probe"
#: The ``op`` of the event that all streams were restored from a backup.
RESTORE = "restore"
#: Ids of the newest events that are remembered, to ignore an event that was appended again.
EVENTS = 1000


@define(eq=False)
class RoomEntry:
    """One room of the directory."""

    stream: Stream
    private: bool = False
    members: set[str] = field(factory=set)
    #: Whether this node knows that the stream exists on the broker.
    made: bool = False

    @property
    def name(self) -> str:
        return self.stream.room

    def is_in(self, stream: Stream) -> bool:
        """Whether ``stream`` is what the room is kept in, also as another life, from a backup."""
        return self.stream.name == stream.name


class ChangeKind(Enum):
    """What an event did."""

    CREATED = auto()
    DELETED = auto()
    #: The room has a new, empty stream.
    RENEWED = auto()
    #: The room has a new life, in a stream that was restored from a backup.
    RESTORED = auto()
    #: Somebody may have lost the right to the room.
    RESTRICTED = auto()
    #: Somebody may have got the right to the room, and nobody lost it.
    GRANTED = auto()


@frozen
class DirectoryChange:
    """The effect of an event on the room ``entry``, whose stream was ``old`` before. It concerns
    the rights of ``user`` alone, if that is not None."""

    what: ChangeKind
    entry: RoomEntry
    old: Stream
    user: str | None = None


class Projection:
    """Rooms by name."""

    def __init__(self) -> None:
        self.rooms: dict[str, RoomEntry] = {}
        #: How many members all rooms have together.
        self.members = 0
        self._events: OrderedDict[str, None] = OrderedDict()
        self._folds: dict[str, Callable[[str, dict[str, Any]], DirectoryChange | None]] = {
            "create": self._create,
            "delete": self._delete,
            "renew": self._renew,
            "private": self._private,
            "add_member": self._add_member,
            "remove_member": self._remove_member,
        }

    def apply(self, event: dict[str, Any]) -> list[DirectoryChange]:
        """Fold one event, and return what it changed. An event may change nothing: another one was
        first, or it is a repeat, because an event that the broker seems to have lost is appended
        again.

        Raises KeyError, TypeError or `ChatError` for a malformed event, or one of a later version.
        """
        if event["op"] == PROBE or self._repeats(event.get("event")):
            return []
        if event["op"] == RESTORE:
            return self._restore(epoch(event["life"]))
        name = room_name(event["room"])
        fold = self._folds.get(event["op"])
        if fold is None:
            raise TypeError(f"{str(event['op'])[:40]!r} is no op, or one of a later version")
        change = fold(name, event)
        return [change] if change is not None else []

    def _restore(self, life: str) -> list[DirectoryChange]:
        """Give every room a new life, with the same stream."""
        changes = []
        for entry in self.rooms.values():
            old = entry.stream
            # different for each room, the same on every node
            new = sha256(f"{life} {old.life}".encode()).hexdigest()[:12]
            entry.stream = evolve(old, restored=new)
            changes.append(DirectoryChange(ChangeKind.RESTORED, entry, old))
        return changes

    def _repeats(self, key: object) -> bool:
        if not isinstance(key, str):
            return False  # appended by another program, or by hand
        if key in self._events:
            return True
        self._events[key] = None
        if len(self._events) > EVENTS:
            self._events.popitem(last=False)
        return False

    def _create(self, name: str, event: dict[str, Any]) -> DirectoryChange | None:
        if name in self.rooms:
            return None
        entry = RoomEntry(_stream(name, event), event.get("private") is True)
        self.rooms[name] = entry
        return DirectoryChange(ChangeKind.CREATED, entry, entry.stream)

    def _delete(self, name: str, event: dict[str, Any]) -> DirectoryChange | None:
        entry = self.rooms.get(name)
        if entry is None or entry.stream.epoch != event["epoch"]:
            return None
        del self.rooms[name]
        self.members -= len(entry.members)
        return DirectoryChange(ChangeKind.DELETED, entry, entry.stream)

    def _renew(self, name: str, event: dict[str, Any]) -> DirectoryChange | None:
        entry = self.rooms.get(name)
        if entry is None or entry.stream.epoch != event["old"]:
            return None
        old, entry.stream, entry.made = entry.stream, _stream(name, event), False
        return DirectoryChange(ChangeKind.RENEWED, entry, old)

    def _private(self, name: str, event: dict[str, Any]) -> DirectoryChange | None:
        entry = self.rooms.get(name)
        private = event["private"] is True
        if entry is None or entry.private == private:
            return None
        entry.private = private
        return DirectoryChange(
            ChangeKind.RESTRICTED if private else ChangeKind.GRANTED, entry, entry.stream
        )

    def _add_member(self, name: str, event: dict[str, Any]) -> DirectoryChange | None:
        entry = self.rooms.get(name)
        user = user_name(event["user"])
        if entry is None or user in entry.members:
            return None
        entry.members.add(user)
        self.members += 1
        return DirectoryChange(ChangeKind.GRANTED, entry, entry.stream)

    def _remove_member(self, name: str, event: dict[str, Any]) -> DirectoryChange | None:
        entry = self.rooms.get(name)
        user = user_name(event["user"])
        if entry is None or user not in entry.members:
            return None
        entry.members.remove(user)
        self.members -= 1
        return DirectoryChange(ChangeKind.RESTRICTED, entry, entry.stream, user)


def _stream(name: str, event: dict[str, Any]) -> Stream:
    """The stream that an event gives to the room ``name``."""
    created = event.get("time")  # events of older versions have none
    if not isinstance(created, int) or not FIRST <= created <= LAST:
        created = 0
    return Stream(name, epoch(event["epoch"]), created=created)
