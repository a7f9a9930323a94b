"""Repeats whose original is older than the deduplication window: found by reading the stream."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import Stream, Unavailable
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
#: What is remembered: of so many users, each so many ids; and for so many seconds.
USERS, IDS, KEPT = 8, 10_000, 10.0
#: Streams of which it is remembered how far they went, or that they could not be read.
ENDS = 1000

K = TypeVar("K")
V = TypeVar("V")


@define(eq=False)
class _Seen:
    """The ids of one user's messages after the offset ``start`` up to ``end``, each with its newest
    offset. Who has many messages under way sends many again, and each would have the same part of
    the stream read once more. ``start`` was found for ``cursor``; ``used`` is in the clock's
    seconds."""

    cursor: Cursor
    start: int
    end: int
    used: float
    ids: dict[str, int] = field(factory=dict, init=False)

    def place(self, after: Cursor, life: str) -> int | None:
        """The offset that ``after`` means in the stream of that ``life``, if it is known and lies
        among these."""
        if after == self.cursor:
            return self.start
        known = after.epoch == life and self.start <= after.offset <= self.end
        return after.offset if known else None

    def add(self, ids: dict[str, int], end: int) -> None:
        """The next ones, up to the offset ``end``, unless they are too many."""
        if len(self.ids) + len(ids) <= IDS:
            self.ids.update(ids)
            self.end = end


class Repeats:
    """Looks for a message after the cursor that a repeat may carry (``after``; protocol, section
    1). Who asks take turns, as in `ReadQueue`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._turns = ReadQueue(clock, SEARCHES)
        self._clock = clock
        self._under_way: Counter[str] = Counter()
        #: The one that was used last is the last.
        self._seen: OrderedDict[tuple[Stream, str], _Seen] = OrderedDict()
        #: When the broker was last asked how far each stream goes (the clock's seconds), and what
        #: it said. The one that was asked for last is the last.
        self._ends: OrderedDict[Stream, tuple[float, int]] = OrderedDict()
        #: When the last search in a stream for an asker began that has failed.
        self._failed: OrderedDict[tuple[Stream, str], float] = OrderedDict()

    async def stored(
        self, room: Room, content: Content, after: Cursor, asker: str, came: float | None = None
    ) -> bool:
        """Whether the user's message with this id lies after the cursor ``after``, among what is
        kept of ``room``; ``asker`` is as in `History`. ``came``: when the repeat came, if it had to
        wait (the clock's seconds). Raises `Unavailable` if the stream cannot be read, or could
        not since the repeat came, or too many searches are under way; may be cancelled.
        """
        began = self._clock.seconds()
        came = began if came is None else came
        here = room.stream, asker
        if self._failed.get(here, came) > came:
            # each of those that wait for each other would take as long to fail
            raise Unavailable("the search for an earlier repeat has failed")
        if self._under_way[asker] >= OF_ONE or self._under_way.total() >= OF_ALL:
            raise Unavailable("earlier repeats are still being looked for")
        self._under_way[asker] += 1
        try:
            with room.held():
                return await self._stored(room, content, after, asker, came)
        except Unavailable:
            _keep(self._failed, here, began)
            raise
        finally:
            self._under_way[asker] -= 1
            if not self._under_way[asker]:
                del self._under_way[asker]

    async def _stored(
        self, room: Room, content: Content, after: Cursor, asker: str, came: float
    ) -> bool:
        stream, broker = room.stream, room.node.broker
        at = await self._turns.run(asker, self._begin_search, room, content, after, asker)
        if at is None or broker.exact or room.stream != stream:
            return at is None
        await self._all_from_before(room, came)
        if room.head <= at or room.stream != stream:
            return False
        rest = Cursor(stream.life, at)
        return await self._turns.run(asker, self._begin_search, room, content, rest, asker) is None

    async def _all_from_before(self, room: Room, came: float) -> None:
        """Return when this node has read what was stored before ``came``: another node, where the
        message was sent first, may have read further. Those who came together, and wait for each
        other, need to ask the broker once: each answer takes it a record, and a while."""
        asked, end = self._ends.get(room.stream, (came, 0))
        if asked > came and room.head >= end:
            return
        stream, asked = room.stream, self._clock.seconds()
        _keep(self._ends, stream, (asked, await room.node.broker.end(stream)))

    def _begin_search(
        self, room: Room, content: Content, after: Cursor, asker: str
    ) -> Deferred[int | None]:
        return Deferred.fromCoroutine(self._search(room, content, after, asker))

    async def _search(self, room: Room, content: Content, after: Cursor, asker: str) -> int | None:
        """None if the message is there; else the offset up to which it is not."""
        if not room.known:
            raise Unavailable  # it was deleted, or has lost its stream
        stream = room.stream
        seen = self._remembered(stream, content.user)
        at = seen.place(after, stream.life) if seen is not None else None
        if seen is None or at is None:
            at = (await find(room, After(after), asker)).offset
            seen = self._seen_from(stream, content.user, after, at)
        if seen.ids.get(content.id, -1) > at:
            return None
        at = seen.end
        while at < room.head and room.stream == stream:
            page = await room.page(at, PAGE, asker)
            seen.used = self._clock.seconds()  # to read it may have taken longer than it is kept
            ids = {m.id: m.offset for m in page.messages if m.user == content.user}
            if seen.end == at:
                seen.add(ids, page.end)
            if content.id in ids:
                return None
            at = page.end
        return at

    def _remembered(self, stream: Stream, user: str) -> _Seen | None:
        """What is known of the user's messages."""
        now, seen = self._clock.seconds(), self._seen.get((stream, user))
        if seen is None or now - seen.used > KEPT:
            return None
        seen.used = now
        self._seen.move_to_end((stream, user))
        return seen

    def _seen_from(self, stream: Stream, user: str, after: Cursor, start: int) -> _Seen:
        """As `_remembered`, from the offset ``start`` on, which ``after`` means."""
        seen = self._remembered(stream, user)
        if seen is None or not seen.start <= start <= seen.end:
            seen = self._seen[stream, user] = _Seen(after, start, start, self._clock.seconds())
            self._seen.move_to_end((stream, user))
        if len(self._seen) > USERS:
            self._seen.popitem(last=False)
        return seen


def _keep(kept: OrderedDict[K, V], key: K, value: V) -> None:
    """Remember it as the newest of `ENDS`."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > ENDS:
        kept.popitem(last=False)
