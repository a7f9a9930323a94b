"""Whether a message that is sent again is stored already, at any rate of the room."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import DeferredSemaphore

from chatd.brokers.interfaces import NotStored, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import Content
from chatd.rooms.room import Room
from chatd.rooms.start_position import After, find

#: Searches under way on a node: each reads as much of a stream as lies after its cursor.
SEARCHES = 2
#: Searches that one user may wait for.
WAITING = 20
#: Messages looked at in one turn of the reactor.
PAGE = 500


class Repeats:
    """Finds messages that lie beyond the ids a room remembers (protocol, section 1: a repeat may
    say from where on to look)."""

    def __init__(self) -> None:
        self._turn = DeferredSemaphore(SEARCHES)
        self._waiting: Counter[str] = Counter()

    async def stored(self, room: Room, content: Content, after: Cursor) -> bool:
        """Whether the user's message with this id lies after ``after``, as far as ``room`` is kept.

        Fails with `Unavailable` if the stream cannot be read, `NotStored` if the user waits for
        too many answers already.
        """
        user = content.user
        if self._waiting[user] >= WAITING:
            raise NotStored("earlier repeats are still being looked for")
        self._waiting[user] += 1
        try:
            await self._turn.acquire()
            try:
                return await _search(room, content, after)
            finally:
                self._turn.release()
        except Unavailable as e:
            raise NotStored(str(e)) from None
        finally:
            self._waiting[user] -= 1
            if not self._waiting[user]:
                del self._waiting[user]


async def _search(room: Room, content: Content, after: Cursor) -> bool:
    stream = room.stream
    at = (await find(room, After(after))).offset
    while at < room.head and room.stream == stream:
        page = await room.page(at, PAGE)
        if any(m.id == content.id and m.user == content.user for m in page.messages):
            return True
        at = page.end
    return False
