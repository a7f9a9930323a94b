"""Repeats whose original is older than the deduplication window: found by reading the stream."""

from __future__ import annotations

from collections import Counter

from chatd.brokers.interfaces import NotStored, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import Content
from chatd.rooms.room import Room
from chatd.rooms.start_position import After, find
from chatd.timing.slots import Slots

#: Concurrent searches on a node; each may read a whole stream.
SEARCHES = 2
#: Searches that one user may have waiting.
WAITING = 20
#: Messages compared in one turn of the reactor.
PAGE = 500


class Repeats:
    """Looks for a message after the cursor that a repeat may carry (``after``; protocol, section
    1)."""

    def __init__(self) -> None:
        self._turn = Slots(SEARCHES)
        self._waiting: Counter[str] = Counter()

    async def stored(self, room: Room, content: Content, after: Cursor, asker: str) -> bool:
        """Whether the user's message with this id lies after the cursor ``after``, among what is
        kept of ``room``; ``asker`` is as in `History`. Raises `NotStored` if the stream cannot be
        read, or if the user has `WAITING` searches waiting.
        """
        user = content.user
        if self._waiting[user] >= WAITING:
            raise NotStored("earlier repeats are still being looked for")
        self._waiting[user] += 1
        try:
            await self._turn.acquire()
            try:
                return await _search(room, content, after, asker)
            finally:
                self._turn.release()
        except Unavailable as e:
            raise NotStored(str(e)) from None
        finally:
            self._waiting[user] -= 1
            if not self._waiting[user]:
                del self._waiting[user]


async def _search(room: Room, content: Content, after: Cursor, asker: str) -> bool:
    stream = room.stream
    at = (await find(room, After(after), asker)).offset
    while at < room.head and room.stream == stream:
        page = await room.page(at, PAGE, asker)
        if any(m.id == content.id and m.user == content.user for m in page.messages):
            return True
        at = page.end
    return False
