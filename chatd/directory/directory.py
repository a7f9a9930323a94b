"""Which rooms and members exist: a fold over the directory stream.

Every change is an event appended to the stream, and takes effect where the fold meets it. So all
nodes agree on the order of events, whoever asked for them, and no other database exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from secrets import token_hex
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from chatd.brokers.interfaces import (
    DIRECTORY,
    IBroker,
    IFollower,
    IFollowing,
    NoSuchStream,
    NotStored,
    Record,
    Stream,
    Unavailable,
)
from chatd.brokers.read_back import UNCOUNTED, Counts, ReadBack
from chatd.directory.leftovers import Leftovers
from chatd.directory.lives import Lives
from chatd.directory.projection import PROBE, ChangeKind, DirectoryChange, Projection, RoomEntry
from chatd.directory.refusal import unavailable
from chatd.directory.restoration import Restoration
from chatd.directory.watchers import Watchers
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.json import dump, load_object
from chatd.telemetry.once import Once
from chatd.timing.singleflight import SingleFlight, Waiters
from chatd.timing.wall import WallClock

#: Seconds until a change that was appended must have come back.
PATIENCE = 10.0
#: Seconds between tries to do what the broker was away for, or refused: at first, and at most.
RETRY, RETRY_SLOWLY = 0.1, 2.0


@implementer(IFollower)
class Directory:
    """The rooms and their members. `start` it before use. ``skipped`` is called for every record of
    the stream that is no event."""

    _log = Logger()

    def __init__(
        self,
        broker: IBroker,
        clock: IReactorTime,
        counts: Counts = UNCOUNTED,
        skipped: Callable[[], object] = lambda: None,
        wall: WallClock | None = None,
    ) -> None:
        self.loaded = False
        #: Called when all events were folded: at start, and if the stream had to begin again.
        self.on_loaded: Callable[[], None] = lambda: None
        self.level = False
        #: Called when it changes whether all that is in the stream has been folded (`level`).
        self.on_level: Callable[[bool], None] = lambda level: None
        #: This node's name, carried by its probes; called for each probe with its node's.
        self.node = ""
        self.on_probe: Callable[[str], None] = lambda node: None
        self._broker = broker
        self._clock = clock
        self._wall = wall or WallClock(clock)
        self._catalogue = Projection()
        self._skipped = skipped
        self._new = Once()
        #: Told of each change at the fold.
        self.watchers = Watchers()
        self._read_back: ReadBack[str, bool] = ReadBack(broker, clock, counts, self._refresh)
        self._loading: Waiters[None] = Waiters()
        self._creating: SingleFlight[str, bool] = SingleFlight()
        self._leftovers = Leftovers(broker, clock)
        self._lives = Lives(broker, self._leftovers, self.find)
        self._refreshing = False
        self._restoration = Restoration(broker, clock, self._wall)
        self._following: IFollowing | None = None
        self._running = False
        self._failures = 0

    def start(self, restored: bool = False) -> None:
        """Begin to follow the directory stream, as soon as the broker can be reached. With
        ``restored`` all are told that it comes from a backup, before anything is served."""
        self._running = True
        self._restoration.due = restored or bool(self._broker.restored)
        self._open()

    def stop(self) -> None:
        """Stop following."""
        self._running = False
        self._leftovers.stop()
        if self._following is not None:
            self._following.stop()
            self._following = None

    def _open(self) -> None:
        if self._running:
            self._broker.create(DIRECTORY).addCallbacks(self._follow, self._open_later)

    def _open_later(self, failure: Any) -> None:
        failure.trap(Unavailable)
        self._failures += 1
        self._clock.callLater(min(RETRY * self._failures, RETRY_SLOWLY), self._open)

    def _follow(self, _: None) -> None:
        self._failures = 0
        if self._running:
            self._following = self._broker.follow(DIRECTORY, None, self)

    # -- what there is -----------------------------------------------------------------------------

    def when_loaded(self) -> Deferred[None]:
        """Fires once all events up to now have been folded."""
        waiter = self._loading.wait()
        if self.loaded:
            self._loading.fire(None)
        return waiter

    def get(self, name: str) -> RoomEntry:
        """The room called ``name``, a name in NFC; `ChatError` unknown_room if there is none."""
        if not self.loaded:
            raise unavailable()
        entry = self._catalogue.rooms.get(name)
        if entry is None:
            raise ChatError(
                Code.UNKNOWN_ROOM, f"There is no room {name}; create it first.", room=name
            )
        return entry

    def find(self, name: str) -> RoomEntry | None:
        """The room called ``name``, if this node knows of one."""
        return self._catalogue.rooms.get(name)

    def __iter__(self) -> Iterator[RoomEntry]:
        return iter(self._catalogue.rooms.values())

    def __len__(self) -> int:
        return len(self._catalogue.rooms)

    # -- changes -----------------------------------------------------------------------------------

    async def create(self, name: str, private: bool = False) -> bool:
        """Create a room; whether it is new. Done when its stream is ready on the broker."""
        new = False
        if name not in self._catalogue.rooms:
            alone = self._creating.idle(name)
            event = {"op": "create", "room": name, "epoch": token_hex(6), "private": private}
            made = await self._creating.run(name, lambda: self._begin_life(event))
            new = made and alone
        entry = self.get(name)
        if new:
            self._announce("created", entry, {"private": private})
        await self.ensure(entry)
        return new

    async def _begin_life(self, event: dict[str, Any]) -> bool:
        """Append an event that gives a room another stream; whether it changed anything."""
        if not self.loaded:
            raise unavailable()
        event["time"] = self._wall.milliseconds()
        stream = Stream(event["room"], event["epoch"])
        return await self._lives.begin(stream, lambda: self._change(event))

    async def ensure(self, entry: RoomEntry) -> None:
        """Make sure that the room's stream exists and is bound; `ChatError` unavailable."""
        await self._lives.ensure(entry)

    async def delete(self, name: str) -> bool:
        """Delete a room and all that was said in it; False if there was none."""
        if not self.loaded:
            raise unavailable()  # whether there is one is not known yet
        entry = self._catalogue.rooms.get(name)
        if entry is None:
            return False
        changed = await self._change({"op": "delete", "room": name, "epoch": entry.stream.epoch})
        if changed:
            self._announce("deleted", entry, {})
        return changed

    async def set_private(self, name: str, private: bool) -> None:
        """Make a room private or public."""
        if self.get(name).private != private:
            await self._change({"op": "private", "room": name, "private": private})

    async def add_member(self, name: str, user: str) -> None:
        """Let ``user`` join the room when it is private."""
        entry = self.get(name)
        if user not in entry.members and await self._change(
            {"op": "add_member", "room": name, "user": user}
        ):
            self._announce("member_added", entry, {"user": user})

    async def remove_member(self, name: str, user: str) -> None:
        """Take that right away again."""
        entry = self.get(name)
        if user in entry.members and await self._change(
            {"op": "remove_member", "room": name, "user": user}
        ):
            self._announce("member_removed", entry, {"user": user})

    async def renew(self, lost: Stream) -> None:
        """Begin a new life of a room whose stream vanished from the broker."""
        event = {"op": "renew", "room": lost.room, "old": lost.epoch, "epoch": token_hex(6)}
        await self._begin_life(event)
        entry = self._catalogue.rooms.get(lost.room)
        if entry is not None:
            await self.ensure(entry)

    async def probe(self, patience: float) -> None:
        """Append an event that changes nothing; back when it is, or `ChatError` after
        ``patience`` seconds."""
        await self._change({"op": PROBE, "node": self.node}, patience)

    async def _change(self, event: dict[str, Any], patience: float = PATIENCE) -> bool:
        """Append an event and wait until the fold has met it; whether it changed anything."""
        if not self.loaded:
            raise unavailable()
        key = event["event"] = token_hex(8)
        now = self._clock.seconds()
        try:
            return await self._read_back.append(
                DIRECTORY, key, dump(event), key, self._wall.milliseconds(), now + patience
            )
        except Unavailable as e:
            raise unavailable(e).about(event.get("room")) from None
        except NoSuchStream:
            raise unavailable(NotStored("it is gone")).about(event.get("room")) from None

    def _announce(self, event: str, entry: RoomEntry, more: dict[str, Any]) -> None:
        body = {"event": event, "room": entry.name, **more}
        self._broker.announce(event, entry.name, dump(body))

    # -- IFollower: the fold -----------------------------------------------------------------------

    def records(self, batch: Sequence[Record]) -> None:
        for record in batch:
            try:
                event = load_object(record.body)
                changed = self._apply(event)
            except (ChatError, KeyError, TypeError) as e:
                self._skip(record, e)
            else:
                self._read_back.brought(str(event.get("event")), changed)
                self._restoration.met(event.get("event"))

    def _skip(self, record: Record, why: Exception) -> None:
        self._skipped()
        if self._new(str(why)[:100]):
            self._log.warn(
                "directory at {offset}: skipped what is no event: {why!r}",
                offset=record.offset,
                why=why,
            )

    def _apply(self, event: dict[str, Any]) -> bool:
        changes = self._catalogue.apply(event)
        if not changes and self.loaded and event["op"] == PROBE:
            self.on_probe(str(event.get("node")))
        for change in changes:
            # the old stream of a renewed room is gone; if it is not, nobody asked to delete it
            if change.what is ChangeKind.DELETED:
                self._leftovers.add(change.old)
            self.watchers.tell(change)
        return bool(changes)

    def _refresh(self) -> None:
        if self._following is not None:
            self._refreshing = True
            self._following.refresh()

    def caught_up(self, end: int) -> None:
        self._refreshing = False
        self._read_back.caught_up()
        if self._restoration.due:
            self._restoration.tell(self._load)
        else:
            self._load()

    def _load(self) -> None:
        if not self.loaded:
            self.loaded = True
            self._leftovers.release()
            self._loading.fire(None)
            self.on_loaded()
        self._levelled(True)

    def interrupted(self) -> None:
        """What is known stays known; changes fail until the broker is back."""
        if not self._refreshing:
            self._levelled(False)

    def _levelled(self, level: bool) -> None:
        if level is not self.level:
            self.level = level
            self.on_level(level)

    def truncated(self) -> None:
        self._log.error("The directory stream lost records: set no retention on it.")

    def gone(self) -> None:
        self._log.error("The directory stream was deleted; it begins again, with no rooms.")
        self.loaded = False
        self._leftovers.hold()
        self._read_back.lost()
        self._levelled(False)
        lost, self._catalogue = self._catalogue, Projection()
        for entry in lost.rooms.values():
            self.watchers.tell(DirectoryChange(ChangeKind.DELETED, entry, entry.stream))
        self._open()
