"""Where a reader starts: after a cursor, with the last N messages, at a time, or now."""

from __future__ import annotations

from attrs import frozen

from chatd.brokers.interfaces import NoSuchStream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import bad_request
from chatd.protocol.timestamps import FIRST, LAST, parse_time
from chatd.rooms.room import Room

#: ``last`` asks for at most this many messages.
MAX_LAST = 1000


@frozen
class Now:
    """Only messages from now on."""


@frozen
class After:
    """The messages after a cursor."""

    cursor: Cursor


@frozen
class Last:
    """The newest ``n`` messages, and those that follow."""

    n: int


@frozen
class Since:
    """The first message at or after ``time`` (milliseconds since the epoch), and those that
    follow."""

    time: int


Start = Now | After | Last | Since


@frozen
class StartPosition:
    """Read after ``offset``. ``gap``: messages after the cursor asked for are no longer kept."""

    offset: int
    gap: bool = False


def check_last(value: object) -> int:
    """Check the parameter ``last``: a whole number from 0 to `MAX_LAST`."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LAST:
        return value
    raise bad_request(f"last is a whole number from 0 to {MAX_LAST}.")


def since(value: object) -> Since:
    """Parse the parameter ``since``: an RFC 3339 time."""
    return Since(min(max(parse_time(value), FIRST), LAST))


async def find(room: Room, start: Start, asker: str) -> StartPosition:
    """The offset that ``start`` means in an attached ``room``; ``asker`` is as in `History`. Raises
    `Unavailable`."""
    stream = room.stream
    with room.held():
        try:
            place = await _find(room, start, asker)
        except NoSuchStream:
            raise Unavailable from None
    if room.stream != stream or not room.known:
        raise Unavailable  # the room was deleted, or has a new life
    return place


async def _find(room: Room, start: Start, asker: str) -> StartPosition:
    match start:
        case Now():
            return StartPosition(room.head)
        case After(cursor):
            return await _after(room, cursor, asker)
        case Last(n):
            return StartPosition(await _last(room, n, asker))
        case Since(time):
            return StartPosition(await _since(room, time, asker))


async def _after(room: Room, cursor: Cursor, asker: str) -> StartPosition:
    if cursor.epoch != room.stream.life:
        return await _oldest(room, asker)  # an earlier life of the room, or another room's cursor
    if cursor.offset > room.head and not await reaches(room, cursor.offset):
        return await _oldest(room, asker)
    if room.recent_after(cursor.offset, 1) is not None:
        return StartPosition(cursor.offset)
    page = await room.page(cursor.offset, 1, asker)
    if not page.gap:
        return StartPosition(cursor.offset)
    return StartPosition(page.messages[0].offset - 1 if page.messages else page.end, gap=True)


async def reaches(room: Room, offset: int) -> bool:
    """Whether the stream has a record at ``offset`` or after it: another node may have read further
    than this one. Waits until this node has, too."""
    if await room.node.broker.end(room.stream) < offset:
        return False
    while room.known and room.head < offset:
        await room.waiting.wait().addTimeout(5, room.node.clock, _behind)
    return True


def _behind(result: object, timeout: float) -> None:
    raise Unavailable


async def _oldest(room: Room, asker: str) -> StartPosition:
    before = room.recent.before_time(room.oldest(), room.oldest())
    if before is None:
        history = room.node.history
        before = await history.before_oldest(room.stream, room.head, room.oldest(), asker)
    return StartPosition(before, gap=True)


async def _last(room: Room, n: int, asker: str) -> int:
    if n == 0:
        return room.head
    before = room.recent.before_last(n, room.oldest())
    if before is None:
        history = room.node.history
        before = await history.before_last(room.stream, n, room.head, room.oldest(), asker)
    return before


async def _since(room: Room, time: int, asker: str) -> int:
    before = room.recent.before_time(time, room.oldest())
    if before is None:
        history = room.node.history
        before = await history.before_time(room.stream, time, room.head, room.oldest(), asker)
    return before
