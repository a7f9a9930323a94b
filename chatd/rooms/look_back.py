"""Looking back: the newest messages before a cursor, from the cache or the broker."""

from __future__ import annotations

from attrs import evolve

from chatd.brokers.interfaces import NoSuchStream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.rooms.history import Earlier
from chatd.rooms.room import Room
from chatd.rooms.start_position import reaches

#: For a cursor of an earlier life of the room, of which nothing is kept.
GONE = Earlier(-1, -1, 0, more=False, gap=True)


async def look_back(room: Room, cursor: Cursor, limit: int, size: int, asker: str) -> Earlier:
    """Where the newest messages before ``cursor`` are in an attached ``room``: at most ``limit``,
    and no further one once they have ``size`` bytes. For a cursor beyond the end, the newest
    messages and a gap. ``asker`` is as in `History`. Raises `Unavailable`."""
    stream = room.stream
    if cursor.epoch != stream.life:
        return GONE
    with room.held():
        try:
            beyond = cursor.offset > room.head and not await reaches(room, cursor.offset)
            found = await _earlier(room, cursor.offset, limit, size, asker)
        except NoSuchStream:
            raise Unavailable from None
    if room.stream != stream or not room.known:
        raise Unavailable  # the room was deleted, or has a new life
    return evolve(found, gap=True) if beyond else found


async def _earlier(room: Room, before: int, limit: int, size: int, asker: str) -> Earlier:
    history, upto = room.node.history, room.head
    before = min(before, upto + 1)
    recent = room.recent.earlier(before, room.oldest(), limit, size)
    if recent is None:
        return await history.earlier(room.stream, before, upto, room.oldest(), limit, size, asker)
    messages, more = recent
    after = messages[0].offset - 1 if messages else before - 1
    return Earlier(after, before - 1, len(messages), more, gap=False)
