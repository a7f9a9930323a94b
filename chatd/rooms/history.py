"""Messages that are no longer in a room's cache, read from the broker page by page; and the offset
that a time or a count means, found without reading messages."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Coroutine, Sequence
from itertools import islice
from typing import Any, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Stream, Unavailable
from chatd.protocol.messages import Message, by_offset
from chatd.rooms.blocks import Blocks
from chatd.rooms.dating import Dating
from chatd.rooms.outline import BLOCK, Outline
from chatd.timing.wall import WallClock

T = TypeVar("T")

#: A page is full at this many messages, or at the message that makes it this many bytes.
PAGE_MESSAGES = 128
PAGE_BYTES = 48 * 1024
#: Offsets after which a page ends, though it has no message: other programs wrote what is none.
PAGE_OFFSETS = 8 * BLOCK
#: Seconds that any question may take, all waits for a turn included.
PATIENCE = 20.0


@frozen
class HistoryPage:
    """Messages after an offset. Continue after the offset ``end``. ``gap``: some messages between
    the offset asked for and the first one here (or ``end``) are no longer kept."""

    messages: Sequence[Message]
    end: int
    gap: bool

    def upto(self, offset: int) -> Sequence[Message]:
        """The messages up to ``offset``."""
        if self.end <= offset:
            return self.messages
        return self.messages[: bisect_right(self.messages, offset, key=by_offset)]


@frozen
class Earlier:
    """The ``count`` messages with ``after < offset <= upto``, which lie before an offset, without a
    gap between them. ``more``: older ones are kept; ``gap``: there had been some right before that
    offset that are not."""

    after: int
    upto: int
    count: int
    more: bool
    gap: bool


class History:
    """The history of all rooms, through a cache of blocks.

    Of each method: ``upto`` is the offset of the room's head; ``oldest`` the time (milliseconds)
    from before which messages have expired; ``asker`` the address that reads from the broker are
    counted to, "" for the node itself. Each raises `Unavailable` or `NoSuchStream`.
    """

    def __init__(self, broker: IBroker, clock: IReactorTime, dating: Dating | None = None) -> None:
        self._clock = clock
        self._blocks = Blocks(broker, clock, dating or Dating(WallClock(clock)))
        #: Those in which readers go on.
        self.turns = self._blocks.turns

    async def page(
        self,
        stream: Stream,
        after: int,
        upto: int,
        oldest: int,
        limit: int = PAGE_MESSAGES,
        asker: str = "",
    ) -> HistoryPage:
        """Up to ``limit`` messages with ``after < offset <= upto``."""
        return await self._in_time(
            self._page(stream, _Filling(after, upto, oldest, limit), upto, asker)
        )

    async def _page(self, stream: Stream, page: _Filling, upto: int, asker: str) -> HistoryPage:
        at = page.after
        until = at + PAGE_OFFSETS
        while at < upto:
            portion = await self._blocks.portion(stream, at + 1, upto, asker)
            if not portion.sure:
                # either retention removed records, or offsets skip, which is no gap
                first = await self.first(stream, asker)
                if first > at + 1:
                    if page.taken:
                        return page.done()  # the next page begins with the gap
                    page.lost = True
                    at = page.end = min(first - 1, upto)
                    until = at + PAGE_OFFSETS
                    continue
            if page.take(portion.messages):
                return page.done()
            at = max(at, portion.end)
            page.end = max(page.end, min(at, upto))
            if at > until and not page.taken:
                break
        return page.done()

    def first(self, stream: Stream, asker: str) -> Deferred[int]:
        """The offset of the oldest record kept, one past the end if there is none."""
        return self._blocks.locate(stream, 0, asker)

    async def before_oldest(self, stream: Stream, upto: int, oldest: int, asker: str = "") -> int:
        """The offset just before the oldest message kept, ``upto`` if none is."""
        return await self._in_time(self._before(stream, 0, oldest, upto, oldest, asker))

    async def before_time(
        self, stream: Stream, time: int, upto: int, oldest: int, asker: str = ""
    ) -> int:
        """The offset just before the first message at or after ``time``, ``upto`` if none is."""
        return await self._in_time(self._before(stream, time, time, upto, oldest, asker))

    async def _before(
        self, stream: Stream, located: int, time: int, upto: int, oldest: int, asker: str
    ) -> int:
        """The offset just before the first message at or after the time ``time``, ``upto`` if there
        is none. What the broker says to be before the time ``located`` is not looked at."""
        start = await self._blocks.locate(stream, located, asker)
        while start <= upto:
            outline = await self._blocks.outline(stream, start // BLOCK, upto, asker)
            for i in outline.visible(oldest, upto + 1):
                if outline.offset(i) >= start and outline.time(i) >= time:
                    return outline.offset(i) - 1
            start = (outline.index + 1) * BLOCK
        return upto

    async def before_last(
        self, stream: Stream, n: int, upto: int, oldest: int, asker: str = ""
    ) -> int:
        """The offset just before the ``n`` newest messages up to ``upto``."""
        return await self._in_time(self._before_last(stream, n, upto, oldest, asker))

    async def _before_last(self, stream: Stream, n: int, upto: int, oldest: int, asker: str) -> int:
        start, left = upto, n
        async for outline in self._backwards(stream, upto + 1, upto, asker):
            shown = outline.visible(oldest, upto + 1)
            if len(shown) > left:
                start = outline.offset(shown[-left - 1])
                break
            if shown:
                start, left = outline.offset(shown[0]) - 1, left - len(shown)
        if start < upto and not (await self._blocks.portion(stream, start + 1, upto, asker)).sure:
            # what was there may have been removed since the outline was read
            start = max(start, min(await self.first(stream, asker) - 1, upto))
        return start

    async def earlier(
        self,
        stream: Stream,
        before: int,
        upto: int,
        oldest: int,
        limit: int,
        size: int,
        asker: str = "",
    ) -> Earlier:
        """Where the newest messages with ``offset < before`` are: at most ``limit``, and no further
        one once they have ``size`` bytes."""
        looking = _Looking(before - 1, oldest, limit, size)
        return await self._in_time(self._earlier(stream, looking, upto, asker))

    async def _earlier(self, stream: Stream, looking: _Looking, upto: int, asker: str) -> Earlier:
        before = looking.upto + 1
        async for outline in self._backwards(stream, before, upto, asker):
            next_one = looking.take(outline)
            if next_one is not None:
                older = await self._blocks.portion(stream, next_one, upto, asker)
                return looking.found(more=older.sure, gap=looking.lost)
        none = not looking.count and before > 0
        gone = looking.lost or (none and await self.first(stream, asker) > 0)
        return looking.found(more=False, gap=gone)

    async def _backwards(
        self, stream: Stream, before: int, upto: int, asker: str
    ) -> AsyncIterator[Outline]:
        """The outlines of the blocks before the offset ``before``, the newest first."""
        for index in range((before - 1) // BLOCK, -1, -1):
            outline = await self._blocks.outline(stream, index, upto, asker)
            yield outline
            start = index * BLOCK
            begun = len(outline) > 0 and outline.offset(0) == start
            # either retention removed what lies before, or offsets skip
            if not begun and start <= await self.first(stream, asker):
                return

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of ``work``, which is given up after `PATIENCE` seconds."""
        return await Deferred.fromCoroutine(work).addTimeout(PATIENCE, self._clock, _late)


def _late(result: object, timeout: float) -> Any:
    raise Unavailable("the broker takes too long to read the past")


@define
class _Filling:
    """A page being filled, piece by piece; ``left`` messages more fit in."""

    after: int
    upto: int
    oldest: int
    left: int
    lost: bool = False
    taken: list[Message] = field(factory=list)
    end: int = field(init=False)
    _bytes: int = PAGE_BYTES

    def __attrs_post_init__(self) -> None:
        self.end = self.after

    def take(self, messages: Sequence[Message]) -> bool:
        """Add messages of a piece; whether the page is full."""
        start = bisect_right(messages, self.after, key=by_offset)
        for message in islice(messages, start, None):
            if message.offset > self.upto:
                break
            expired = message.expired(self.oldest)  # though the broker has not removed it yet
            if not self.left or self._bytes <= 0 or (expired and self.taken):
                return True  # the next page begins with the gap
            self.end = message.offset
            if expired:
                self.lost = True
            else:
                self.taken.append(message)
                self.left -= 1
                self._bytes -= len(message.json)
        return False

    def done(self) -> HistoryPage:
        """The page as it is."""
        return HistoryPage(self.taken, self.end, self.lost)


@define
class _Looking:
    """The messages up to the offset ``upto``, looked at from the newest back; as many as there are
    ``left``, and ``size`` bytes of them, are wanted. ``lost``: the newest have expired; ``ended``:
    some before those that were taken have."""

    upto: int
    oldest: int
    left: int
    size: int
    after: int = field(init=False)
    count: int = 0
    lost: bool = False
    ended: bool = False

    def __attrs_post_init__(self) -> None:
        self.after = self.upto

    def take(self, outline: Outline) -> int | None:
        """Add messages of a block; the offset of the first one that does not belong any more."""
        visible = frozenset(outline.visible(self.oldest, self.upto + 1))
        for i in reversed(outline.shown(self.upto + 1)):
            if i not in visible:
                self._skip(outline.offset(i))
                continue
            if not self.left or self.size <= 0 or self.ended:
                return outline.offset(i)
            self.after = outline.offset(i) - 1
            self.left -= 1
            self.size -= outline.size(i)
            self.count += 1
        return None

    def _skip(self, offset: int) -> None:
        """The message at ``offset`` has expired."""
        if self.count:
            self.ended = True
        else:
            self.lost = True
            self.after = self.upto = offset - 1

    def found(self, more: bool, gap: bool) -> Earlier:
        """What was found."""
        return Earlier(self.after, self.upto, self.count, more, gap)
