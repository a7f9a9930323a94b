"""Looking back: the newest messages before a cursor, from memory or the archive."""

from __future__ import annotations

from chatd.brokers.interfaces import NoSuchStream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.rooms.history import Earlier
from chatd.rooms.room import Room
from chatd.rooms.start_position import reaches

#: Nothing is kept of an earlier life.
GONE = Earlier((), more=False, gap=True)


async def look_back(room: Room, cursor: Cursor, limit: int, size: int) -> Earlier:
    """The newest messages before ``cursor`` in an attached ``room``: at most ``limit``, none begun
    after ``size`` bytes. Before a cursor from beyond the end come, after a gap, the newest there
    are. Fails with `Unavailable`."""
    stream = room.stream
    if cursor.epoch != stream.life:
        return GONE
    with room.held():
        try:
            beyond = cursor.offset > room.head and not await reaches(room, cursor.offset)
            found = await _earlier(room, cursor.offset, limit, size)
        except NoSuchStream:
            raise Unavailable from None
    if room.stream != stream or not room.known:
        raise Unavailable  # deleted, or a new life, meanwhile
    return Earlier(found.messages, found.more, gap=True) if beyond else found


async def _earlier(room: Room, before: int, limit: int, size: int) -> Earlier:
    recent = room.recent.earlier(before, room.oldest(), limit, size)
    if recent is not None:
        messages, more = recent
        return Earlier(messages, more, gap=False)
    archive, upto = room.node.archive, room.head
    before = min(before, upto + 1)
    return await archive.earlier(room.stream, before, upto, room.oldest(), limit, size)
