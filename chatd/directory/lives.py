"""The streams of rooms: each is made before the directory names it."""

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
    """Begins lives of rooms. ``find`` looks a room up by its name."""

    broker: IBroker
    leftovers: Leftovers
    find: Callable[[str], RoomEntry | None]
    _making: SingleFlight[Stream, None] = field(factory=SingleFlight, init=False)

    async def begin(self, stream: Stream, append: Callable[[], Awaitable[bool]]) -> bool:
        """Make ``stream``, then ``append`` the event that gives it to its room; whether the event
        changed anything. `ChatError` unavailable: a room that cannot be made is not named."""
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
            self.leftovers.add(stream)  # somebody else was first
        return changed

    async def ensure(self, entry: RoomEntry) -> None:
        """Make sure that the room's stream exists and is bound; `ChatError` unavailable."""
        if not entry.made:
            try:
                # once for all who wait, who then go on in the order in which they came
                await self._making.run(entry.stream, lambda: self._make(entry))
            except Unavailable as e:
                raise unavailable(e).about(entry.name) from None

    async def _make(self, entry: RoomEntry) -> None:
        stream = entry.stream
        await self.broker.create(stream)
        if entry.stream == stream:
            entry.made = True
