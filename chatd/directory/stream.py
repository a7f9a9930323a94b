"""The directory stream: events are appended to it, and folded into the rooms that there are.

An event takes effect where the fold meets it. So all nodes agree on the order of events, whoever
appended them, and no other database exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from secrets import token_hex
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.brokers.interfaces import (
    DIRECTORY,
    IBroker,
    IFollower,
    IFollowing,
    NoSuchStream,
    NotStored,
    Record,
    Unavailable,
)
from chatd.brokers.read_back import Counts, ReadBack
from chatd.directory.leftovers import Leftovers
from chatd.directory.projection import PROBE, ChangeKind, DirectoryChange, Projection, RoomEntry
from chatd.directory.restoration import Restoration
from chatd.directory.unavailable import unavailable
from chatd.directory.watchers import Watchers
from chatd.directory.wholeness import Wholeness
from chatd.protocol.errors import ChatError
from chatd.protocol.json import dump, load_object
from chatd.telemetry.once import Once
from chatd.timing.wall import WallClock

#: Seconds within which an appended event must be read back.
PATIENCE = 10.0
#: Seconds between attempts to open the stream, at first and at most.
RETRY, RETRY_SLOWLY = 0.1, 2.0


class DirectoryState(Enum):
    """How far the directory is known."""

    #: Not all events have been folded yet.
    LOADING = auto()
    #: All events up to an interruption have been folded; what is known stays in use.
    INTERRUPTED = auto()
    #: All events have been folded.
    LEVEL = auto()


@implementer(IFollower)
class DirectoryStream:
    """Appends events, and follows the stream to fold them. `start` it before use.

    ``skipped`` is called for each record that is no event. Streams of deleted rooms are handed to
    ``leftovers``.
    """

    _log = Logger()

    def __init__(
        self,
        broker: IBroker,
        clock: IReactorTime,
        wall: WallClock,
        counts: Counts,
        skipped: Callable[[], object],
        leftovers: Leftovers,
    ) -> None:
        self.state = DirectoryState.LOADING
        #: Called when all events have been folded: after the start, and after the stream was
        #: deleted and made again.
        self.on_loaded: Callable[[], None] = lambda: None
        #: Called with whether the state is `DirectoryState.LEVEL`, when that changes.
        self.on_level: Callable[[bool], None] = lambda level: None
        #: Called with the node's name for each probe that any node has appended.
        self.on_probe: Callable[[str], None] = lambda node: None
        #: This node's name, for its own probes.
        self.node = ""
        #: Told of each change of the directory.
        self.watchers = Watchers()
        self._broker = broker
        self._clock = clock
        self._wall = wall
        self._skipped = skipped
        self._leftovers = leftovers
        self._projection = Projection()
        self._read_back: ReadBack[str, bool] = ReadBack(
            broker, clock, counts, self._refresh, self._fault
        )
        self._restoration = Restoration(broker, clock, self._append)
        self._wholeness = Wholeness(broker, clock)
        self._new = Once()
        self._following: IFollowing | None = None
        self._running = self._refreshing = False
        self._failures = 0

    @property
    def loaded(self) -> bool:
        """Whether all events were folded at least once."""
        return self.state is not DirectoryState.LOADING

    @property
    def level(self) -> bool:
        """Whether all events have been folded."""
        return self.state is DirectoryState.LEVEL

    @property
    def rooms(self) -> dict[str, RoomEntry]:
        """The rooms by name, as far as events have been folded."""
        return self._projection.rooms

    @property
    def members(self) -> int:
        """How many members all rooms have together."""
        return self._projection.members

    def start(self, restored: bool = False) -> None:
        """Follow the stream as soon as the broker can be reached. With ``restored``, first append
        the event that all streams were restored from a backup."""
        self._running = True
        self._restoration.due = restored or bool(self._broker.restored)
        self._open()

    def stop(self) -> None:
        """Stop following."""
        self._running = False
        self._wholeness.stop()
        self._restoration.stop()
        if self._following is not None:
            self._following.stop()
            self._following = None

    def _open(self) -> None:
        if self._running:
            self._broker.create(DIRECTORY).addCallbacks(self._follow, self._open_later)

    def _open_later(self, failure: Failure) -> None:
        failure.trap(Unavailable)
        self._failures += 1
        self._clock.callLater(min(RETRY * self._failures, RETRY_SLOWLY), self._open)

    def _follow(self, _: None) -> None:
        self._failures = 0
        if self._running:
            self._following = self._broker.follow(DIRECTORY, None, self)

    # -- appending ---------------------------------------------------------------------------------

    async def append(self, event: dict[str, Any], patience: float = PATIENCE) -> bool:
        """Append an event and wait until it has been folded; whether it changed anything.

        An ``event`` without an id gets a random one. Raises `ChatError` unavailable, after
        ``patience`` seconds at the latest.
        """
        if not self.loaded:
            raise unavailable(NotStored())
        try:
            return await self._append(event, event.get("event") or token_hex(8), patience)
        except Unavailable as e:
            raise unavailable(e).about(event.get("room")) from None
        except NoSuchStream:
            raise unavailable(NotStored("it is gone")).about(event.get("room")) from None

    def _append(
        self, event: dict[str, Any], key: str, patience: float = PATIENCE
    ) -> Deferred[bool]:
        now, until = self._wall.milliseconds(), self._clock.seconds() + patience
        body = dump({**event, "event": key})
        return self._read_back.append(DIRECTORY, key, body, key, now, until)

    async def probe(self, patience: float) -> None:
        """Append an event that changes nothing, and wait until it has been read back. Raises
        `ChatError` unavailable, after ``patience`` seconds at the latest."""
        await self.append({"op": PROBE, "node": self.node}, patience)

    def _refresh(self) -> None:
        if self._following is not None:
            self._refreshing = True
            try:
                self._following.refresh()
            finally:
                self._refreshing = False

    def _fault(self) -> str:
        return str(self._following.fault) if self._following is not None else ""

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

    def _skip(self, record: Record, why: Exception) -> None:
        self._skipped()
        if self._new(str(why)[:100]):
            self._log.warn(
                "directory at {offset}: skipped what is no event: {why!r}",
                offset=record.offset,
                why=why,
            )

    def _apply(self, event: dict[str, Any]) -> bool:
        changes = self._projection.apply(event)
        if self.loaded and event["op"] == PROBE:
            self.on_probe(str(event.get("node")))
        for change in changes:
            # the old stream of a room with a new life is gone; if not, it was not asked to go
            if change.what is ChangeKind.DELETED:
                self._leftovers.add(change.old)
            self.watchers.tell(change)
        return bool(changes)

    def caught_up(self, end: int) -> None:
        self._read_back.caught_up()
        if self._restoration.due:
            self._restoration.tell(self._load)
        elif self.loaded:
            self._load()
        else:
            self._wholeness.check(self._load)

    def _load(self) -> None:
        first, was_level, self.state = not self.loaded, self.level, DirectoryState.LEVEL
        if first:
            self._leftovers.release()
            self.on_loaded()
        if not was_level:
            self.on_level(True)

    def interrupted(self) -> None:
        """What is known stays in use; appends fail until the broker is back. That it is read anew
        for a record of ours is no interruption: each would need a new probe."""
        self._wholeness.stop()
        if not self._refreshing and self.level:
            self.state = DirectoryState.INTERRUPTED
            self.on_level(False)

    def truncated(self) -> None:
        self._log.error("The directory stream lost records: set no retention on it.")

    def gone(self) -> None:
        self._log.error("The directory stream was deleted; it begins again, with no rooms.")
        was_level, self.state = self.level, DirectoryState.LOADING
        self._wholeness.stop()
        self._leftovers.hold()
        self._read_back.lost()
        if was_level:
            self.on_level(False)
        lost, self._projection = self._projection, Projection()
        for entry in lost.rooms.values():
            self.watchers.tell(DirectoryChange(ChangeKind.DELETED, entry, entry.stream))
        self._open()
