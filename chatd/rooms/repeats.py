"""Repeats whose original is older than the deduplication window: found by reading the stream."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import Content
from chatd.rooms.read_queue import ReadQueue
from chatd.rooms.room import Room
from chatd.rooms.start_position import After, find

#: Concurrent searches on a node; each may read a whole stream.
SEARCHES = 2
#: Searches that one address may have under way, and all together: each holds a message.
OF_ONE, OF_ALL = 100, 500
#: Messages compared in one turn of the reactor.
PAGE = 500


class Repeats:
    """Looks for a message after the cursor that a repeat may carry (``after``; protocol, section
    1). Who asks take turns, as in `ReadQueue`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._turns = ReadQueue(clock, SEARCHES)
        self._under_way: Counter[str] = Counter()

    async def stored(self, room: Room, content: Content, after: Cursor, asker: str) -> bool:
        """Whether the user's message with this id lies after the cursor ``after``, among what is
        kept of ``room``; ``asker`` is as in `History`. Raises `Unavailable` if the stream cannot be
        read, or too many searches are under way; may be cancelled.
        """
        if self._under_way[asker] >= OF_ONE or self._under_way.total() >= OF_ALL:
            raise Unavailable("earlier repeats are still being looked for")
        self._under_way[asker] += 1
        try:
            with room.held():
                return await self._stored(room, content, after, asker)
        finally:
            self._under_way[asker] -= 1
            if not self._under_way[asker]:
                del self._under_way[asker]

    async def _stored(self, room: Room, content: Content, after: Cursor, asker: str) -> bool:
        stream, broker = room.stream, room.node.broker
        at = await self._turns.run(asker, _begin_search, room, content, after, asker)
        if at is None or broker.exact or room.stream != stream:
            return at is None
        # another node, where it was sent first, may have read further than this one
        await broker.end(stream)
        if room.head <= at or room.stream != stream:
            return False
        rest = Cursor(stream.life, at)
        return await self._turns.run(asker, _begin_search, room, content, rest, asker) is None


def _begin_search(room: Room, content: Content, after: Cursor, asker: str) -> Deferred[int | None]:
    return Deferred.fromCoroutine(_search(room, content, after, asker))


async def _search(room: Room, content: Content, after: Cursor, asker: str) -> int | None:
    """None if the message is there; else the offset up to which it is not."""
    stream = room.stream
    at = (await find(room, After(after), asker)).offset
    while at < room.head and room.stream == stream:
        page = await room.page(at, PAGE, asker)
        if any(m.id == content.id and m.user == content.user for m in page.messages):
            return None
        at = page.end
    return at
