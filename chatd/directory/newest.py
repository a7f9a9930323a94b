"""Opening the newest rooms at the start of a node.

A room is named first, and then its stream is opened (`chatd.directory.lives`). If the node that
made it died in between, other programs' messages would not reach it until somebody uses it here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from chatd.brokers.interfaces import IBroker, NoSuchStream, NotStored, Unavailable
from chatd.directory.projection import ChangeKind, DirectoryChange, RoomEntry

#: Rooms that are opened: more than a node makes at a time.
NEWEST = 100


@define(eq=False)
class NewestRooms:
    """Remembers the newest rooms until `open`. ``find`` returns the room of a name, None if there
    is none."""

    broker: IBroker
    find: Callable[[str], RoomEntry | None]
    _newest: deque[RoomEntry] = field(factory=lambda: deque(maxlen=NEWEST), init=False)
    _opened: bool = field(default=False, init=False)

    _log = Logger()

    def directory_changed(self, change: DirectoryChange) -> None:
        """See `chatd.directory.watchers.Watcher`."""
        if not self._opened and change.what in (ChangeKind.CREATED, ChangeKind.RENEWED):
            self._newest.append(change.entry)

    def open(self) -> None:
        """Open them, one after the other, and remember no more. Does nothing if the broker has no
        other programs."""
        rooms, self._opened = list(self._newest), True
        self._newest.clear()
        if rooms and not self.broker.exact:
            opening = Deferred.fromCoroutine(self._open(rooms))
            opening.addErrback(lambda f: self._log.failure("Opening rooms failed", f))

    async def _open(self, rooms: list[RoomEntry]) -> None:
        for entry in rooms:
            stream = entry.stream
            if entry.made or self.find(entry.name) is not entry:
                continue
            try:
                await self.broker.open(stream)
            except NoSuchStream:
                continue  # whoever uses it gives it a new life
            except NotStored:
                continue  # the broker refuses this one
            except Unavailable:
                return  # whoever uses it opens it
            entry.made = entry.made or entry.stream == stream
