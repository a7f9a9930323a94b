"""Which rooms and members exist, and how that is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Stream
from chatd.brokers.read_back import UNCOUNTED, Counts
from chatd.directory.events import DirectoryEvents
from chatd.directory.leftovers import Leftovers
from chatd.directory.lives import Lives
from chatd.directory.newest import NewestRooms
from chatd.directory.projection import RoomEntry
from chatd.directory.room_names import RoomNames
from chatd.directory.stream import DirectoryStream
from chatd.directory.sync import DirectorySync
from chatd.directory.unavailable import unavailable
from chatd.directory.unnamed import Unnamed
from chatd.protocol.errors import ChatError, Code
from chatd.timing.singleflight import SingleFlight
from chatd.timing.wall import WallClock

#: Members that all rooms may have together. Each node keeps them in memory, some 100 bytes for
#: each, and reads them when it starts, 25,000 a second.
MEMBERS = 1_000_000
#: ``Retry-After``, in seconds, when there are so many.
FULL_RETRY = 60


class Directory:
    """The rooms and their members, by an event in the directory stream for each change.

    `start` it before use. ``skipped`` is called for each record of the stream that is no event.
    All changes raise `ChatError` unavailable while the broker cannot be reached, or the directory
    is not loaded.
    """

    def __init__(
        self,
        broker: IBroker,
        clock: IReactorTime,
        counts: Counts = UNCOUNTED,
        skipped: Callable[[], object] = lambda: None,
        wall: WallClock | None = None,
    ) -> None:
        self._events = DirectoryEvents(broker, clock)
        self._wall = wall or WallClock(clock)
        self._leftovers = Leftovers(broker, clock)
        self.stream = DirectoryStream(broker, clock, self._wall, counts, skipped, self._leftovers)
        #: Told of each change of the directory.
        self.watchers = self.stream.watchers
        self._names = RoomNames(lambda: self.stream.rooms)
        self.watchers.add(self._names)
        self._newest = NewestRooms(broker, self.find)
        self.watchers.add(self._newest)
        self.sync = DirectorySync(broker, clock, self.stream)
        self._creating: SingleFlight[str, bool] = SingleFlight()
        append = self.stream.append
        self._unnamed = Unnamed(clock, self._leftovers, self.find, append)
        self._lives = Lives(broker, self._wall, self._leftovers, self.find, append, self._unnamed)

    def start(self, restored: bool = False) -> None:
        """See `DirectoryStream.start`."""
        self.stream.start(restored)

    def stop(self) -> None:
        """Stop following the stream, deleting streams of deleted rooms, and telling of changes."""
        self._events.stop()
        self._leftovers.stop()
        self._unnamed.stop()
        self.stream.stop()

    # -- what there is -----------------------------------------------------------------------------

    @property
    def loaded(self) -> bool:
        """See `DirectoryStream.loaded`."""
        return self.stream.loaded

    def check_loaded(self) -> None:
        """Raise `ChatError` unavailable while it is not known which rooms there are."""
        if not self.loaded:
            raise unavailable()

    def get(self, name: str) -> RoomEntry:
        """The room called ``name`` (in NFC). Raises `ChatError` unknown_room."""
        self.check_loaded()
        entry = self.stream.rooms.get(name)
        if entry is None:
            raise ChatError(
                Code.UNKNOWN_ROOM, f"There is no room {name}; create it first.", room=name
            )
        return entry

    async def look_up(self, name: str) -> RoomEntry:
        """As `get`; but first it is made sure that no other node has just made the room, or has
        deleted it while this process stood still."""
        self.check_loaded()
        await self.sync.catch_up()
        if name not in self.stream.rooms:
            await self.sync.reach()
        return self.get(name)

    def find(self, name: str) -> RoomEntry | None:
        """The room called ``name``, None if this node knows of none."""
        return self.stream.rooms.get(name)

    def page(self, after: str = "", limit: int | None = None, part: str = "") -> list[RoomEntry]:
        """The rooms in the order of their names: those after the name ``after`` that have ``part``
        in it, ``limit`` of them at most."""
        names = self._names.after(after)
        found = (name for name in names if part in name) if part else names
        return [self.stream.rooms[name] for name in islice(found, limit)]

    def __iter__(self) -> Iterator[RoomEntry]:
        return iter(self.stream.rooms.values())

    def __len__(self) -> int:
        return len(self.stream.rooms)

    # -- changes -----------------------------------------------------------------------------------

    async def create(self, name: str, private: bool = False) -> bool:
        """Create a room unless it exists; whether it is new. When this returns, the room's stream
        is ready on the broker: that of a room that exists is looked for again, because it may have
        been deleted there while nobody was in the room."""
        new = False
        if name not in self.stream.rooms:
            alone = self._creating.idle(name)
            self.check_loaded()
            event = {"op": "create", "room": name, "private": private}
            made = await self._creating.run(name, lambda: self._lives.begin(event))
            new = made and alone
        entry = self.get(name)
        if not new:
            entry.made = False
        try:
            await self.ensure(entry)
        finally:
            # not before: who is told of the room may write to it at once
            if new:
                self._events.tell("created", entry.name, private=private)
        return new

    def open_newest(self) -> None:
        """Open the newest rooms, once all events have been folded: whoever made them may have died
        before. To be called when it is loaded."""
        self._newest.open()

    async def ensure(self, entry: RoomEntry) -> None:
        """Make sure that the room has a stream, and that it is bound."""
        await self._lives.ensure(entry)

    async def delete(self, name: str) -> bool:
        """Delete a room with its messages; False if there is none."""
        self.check_loaded()
        if name not in self.stream.rooms:
            await self.sync.reach()
        entry = self.stream.rooms.get(name)
        if entry is None:
            return False
        event = {"op": "delete", "room": name, "epoch": entry.stream.epoch}
        changed = await self.stream.append(event)
        if changed:
            self._events.tell("deleted", entry.name)
        return changed

    async def set_private(self, name: str, private: bool) -> None:
        """Make a room private or public."""
        await self.look_up(name)
        if not await self._surely(lambda: self.get(name).private == private):
            await self.stream.append({"op": "private", "room": name, "private": private})

    async def add_member(self, name: str, user: str) -> None:
        """Let ``user`` join the room while it is private."""
        entry = await self.look_up(name)
        event = {"op": "add_member", "room": name, "user": user}
        if await self._surely(lambda: user in self.get(name).members):
            return
        if self.stream.members >= MEMBERS:
            why = f"All rooms together have {MEMBERS} members, as many as they may; remove some."
            raise ChatError(Code.UNAVAILABLE, why, retry=FULL_RETRY, room=name)
        if await self.stream.append(event):
            self._events.tell("member_added", entry.name, user=user)

    async def remove_member(self, name: str, user: str) -> None:
        """Undo `add_member`."""
        entry = await self.look_up(name)
        event = {"op": "remove_member", "room": name, "user": user}
        if await self._surely(lambda: user not in self.get(name).members):
            return
        if await self.stream.append(event):
            self._events.tell("member_removed", entry.name, user=user)

    async def _surely(self, done: Callable[[], bool]) -> bool:
        """Whether ``done()``, so that a change is needless, also by what other nodes have just
        changed."""
        if not done():
            return False
        await self.sync.reach()
        return done()

    async def renew(self, lost: Stream) -> None:
        """Begin a new life of a room whose stream vanished from the broker."""
        self.check_loaded()
        await self._lives.renew(lost)
