"""Giving rooms their streams: each is made on the broker before the directory names it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field

from chatd.brokers.interfaces import IBroker, Stream, Unavailable
from chatd.directory.leftovers import Leftovers
from chatd.directory.projection import RoomEntry
from chatd.directory.refusal import unavailable
from chatd.protocol.errors import ChatError
from chatd.timing.singleflight import SingleFlight


@define(eq=False)
class Lives:
    """Makes streams of rooms. ``find`` returns the room of a name, None if there is none."""

    broker: IBroker
    leftovers: Leftovers
    find: Callable[[str], RoomEntry | None]
    _making: SingleFlight[Stream, None] = field(factory=SingleFlight, init=False)

    async def begin(self, stream: Stream, append: Callable[[], Awaitable[bool]]) -> bool:
        """Make ``stream``, then ``append`` the event that gives it to its room. Returns whether the
        event changed anything. Raises `ChatError` unavailable; if the stream cannot be made,
        nothing is appended."""
        try:
            await self.broker.create(stream)
        except Unavailable as e:
            raise unavailable(e).about(stream.room) from None
        try:
            changed = await append()
        except ChatError as e:
            if e.stored is False:
                self.leftovers.add(stream)
            raise
        entry = self.find(stream.room)
        if entry is not None and entry.stream == stream:
            entry.made = True
        elif not changed:
            self.leftovers.add(stream)  # another event was first
        return changed

    async def ensure(self, entry: RoomEntry) -> None:
        """Make sure that the room's stream exists and is bound. Raises `ChatError` unavailable."""
        if not entry.made:
            try:
                # a single flight: all callers continue in their order when it is made
                await self._making.run(entry.stream, lambda: self._make(entry))
            except Unavailable as e:
                raise unavailable(e).about(entry.name) from None

    async def _make(self, entry: RoomEntry) -> None:
        stream = entry.stream
        await self.broker.create(stream)
        if entry.stream == stream:
            entry.made = True
