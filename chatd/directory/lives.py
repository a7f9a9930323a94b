"""The streams of rooms: each is made before the directory names it, and once only.

It is opened, so that other programs' messages reach it, once the directory names it: a process that
is killed in between leaves an empty stream behind, and not one that takes all that is said in a
room from then on.

A stream that the directory names and the broker no longer has was deleted there. Made again it
would be another one under the same name, and cursors would fit that point to other messages. So the
room begins another life.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from chatd.brokers.interfaces import (
    IBroker,
    NameTooLong,
    NoSuchStream,
    NotStored,
    Stream,
    Unavailable,
)
from chatd.directory.leftovers import Leftovers
from chatd.directory.projection import RoomEntry
from chatd.directory.unavailable import unavailable
from chatd.directory.unnamed import Unnamed
from chatd.protocol.errors import ChatError, bad_request
from chatd.timing.singleflight import SingleFlight
from chatd.timing.wall import WallClock

#: Streams that a room is given, one after the other, before it is given up for the time being.
LIVES = 3


@define(eq=False)
class Lives:
    """Gives rooms their streams. ``find`` returns the room of a name, None if there is none;
    ``append`` appends an event to the directory, and returns whether it changed anything."""

    broker: IBroker
    wall: WallClock
    leftovers: Leftovers
    find: Callable[[str], RoomEntry | None]
    append: Callable[[dict[str, Any]], Awaitable[bool]]
    unnamed: Unnamed
    _opening: SingleFlight[RoomEntry, None] = field(factory=SingleFlight, init=False)
    _renewing: SingleFlight[Stream, None] = field(factory=SingleFlight, init=False)

    _log = Logger()

    async def begin(self, event: dict[str, Any]) -> bool:
        """Make a stream, then append the ``event`` that gives it to its room. Returns whether the
        event changed anything. Raises `ChatError` unavailable, or bad_request if the broker can
        have no such room; if the stream cannot be made, nothing is appended."""
        stream = Stream(event["room"], token_hex(6))
        event |= {"epoch": stream.epoch, "time": self.wall.milliseconds(), "event": token_hex(8)}
        await self._make(stream)
        try:
            changed = await self.append(event)
        except ChatError as e:
            if e.stored is False:
                self.leftovers.add(stream)
            else:
                self.unnamed.add(stream, event["event"])
            raise
        entry = self.find(stream.room)
        if not changed and (entry is None or not entry.is_in(stream)):
            self.leftovers.add(stream)  # another event was first
        return changed

    async def _make(self, stream: Stream) -> None:
        self.unnamed.check(stream.room)
        reached = self.broker.ready or bool(self.broker.blocked)
        try:
            await self.broker.create(stream)
        except Unavailable as e:
            if reached and not isinstance(e, NotStored):
                self.leftovers.add(stream)  # it may have been made
            # without a stream the directory was not told, so there is no room
            raise unavailable(e).before_storing().about(stream.room) from None
        except NameTooLong as e:
            raise bad_request(f"{e}.").about(stream.room) from None

    async def ensure(self, entry: RoomEntry) -> None:
        """Make sure that the room has a stream, and that it is bound. Raises `ChatError`
        unavailable."""
        if not entry.made:
            try:
                # a single flight: all callers continue in their order when it is open
                await self._opening.run(entry, lambda: self._open(entry))
            except Unavailable as e:
                raise unavailable(e).about(entry.name) from None

    async def _open(self, entry: RoomEntry) -> None:
        for _ in range(LIVES):
            if entry.made:
                return
            stream = entry.stream
            try:
                await self.broker.open(stream)
            except NoSuchStream:
                await self.renew(stream)
                if entry.stream == stream:  # the room was deleted meanwhile
                    raise unavailable().about(entry.name) from None
            else:
                entry.made = entry.stream == stream
        if not entry.made:
            raise Unavailable("its streams vanish as soon as they are made")

    async def renew(self, lost: Stream) -> None:
        """Begin a new life of a room whose stream vanished from the broker."""
        await self._renewing.run(lost, lambda: self._renew(lost))

    async def _renew(self, lost: Stream) -> None:
        if await self.begin({"op": "renew", "room": lost.room, "old": lost.epoch}):
            self._log.error(
                "The stream of {room} was deleted on the broker; the room begins a new life.",
                room=lost.room,
            )
