"""Messages that are no longer in a room's cache, read from the broker page by page: onward from an
offset, back from it; and the offset that a time or a count means."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Sequence
from itertools import islice

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Stream
from chatd.protocol.messages import Message
from chatd.rooms.blocks import BLOCK, Blocks
from chatd.rooms.dating import Dating
from chatd.timing.wall import WallClock

#: A page is full at this many messages, or at the message that makes it this many bytes.
PAGE_MESSAGES = 128
PAGE_BYTES = 48 * 1024


@frozen
class HistoryPage:
    """Messages after an offset. Continue after the offset ``end``. ``gap``: some messages between
    the offset asked for and the first one here (or ``end``) are no longer kept."""

    messages: Sequence[Message]
    end: int
    gap: bool


@frozen
class Earlier:
    """Messages before an offset, in order. ``more``: older ones are kept; ``gap``: none are left,
    and there had been some."""

    messages: Sequence[Message]
    more: bool
    gap: bool


class History:
    """The history of all rooms, through a block cache."""

    def __init__(self, broker: IBroker, clock: IReactorTime, dating: Dating | None = None) -> None:
        self._blocks = Blocks(broker, clock, dating or Dating(WallClock(clock)))

    async def page(
        self,
        stream: Stream,
        after: int,
        upto: int,
        oldest: int,
        limit: int = PAGE_MESSAGES,
    ) -> HistoryPage:
        """Up to ``limit`` messages with ``after < offset <= upto``, none from before the time
        ``oldest`` (milliseconds). Raises `Unavailable` or `NoSuchStream`."""
        # includes the record at `after`: if that does not come first, it is gone (protocol, 7)
        index = max(after, 0) // BLOCK
        page = _Filling(after, upto, oldest, limit)
        at = after
        while True:
            block = await self._blocks.judged(stream, index, upto)
            if not block.records or block.records[0][0] > at + 1:
                # either retention removed records, or offsets skip, which is no gap
                first = await self.first(stream)
                if first > at + 1:
                    if page.taken:
                        break  # the next page begins with the gap
                    page.lost = at < upto
                    index = max(index, min(first, upto + 1) // BLOCK)
                    block = await self._blocks.judged(stream, index, upto)
            if page.take(block.messages or ()):
                break
            at = max(at, block.records[-1][0] if block.records else at)
            index += 1
            if index * BLOCK > upto:
                return HistoryPage(page.taken, upto, page.lost)
            page.end = max(page.end, min(at, upto))
        return HistoryPage(page.taken, page.end, page.lost)

    def first(self, stream: Stream) -> Deferred[int]:
        """The offset of the oldest record kept, one past the end if there is none."""
        return self._blocks.locate(stream, 0)

    async def before_oldest(self, stream: Stream, upto: int, oldest: int) -> int:
        """The offset just before the oldest message kept, ``upto`` if none is."""
        first = await self.first(stream)
        if first > upto:
            return upto
        page = await self.page(stream, first - 1, upto, oldest, limit=1)
        return page.messages[0].offset - 1 if page.messages else page.end

    async def before_time(self, stream: Stream, time: int, upto: int, oldest: int) -> int:
        """The offset just before the first message at or after ``time``, ``upto`` if none is."""
        start = await self._blocks.locate(stream, time)
        after = min(start - 1, upto)
        while after < upto:
            page = await self.page(stream, after, upto, oldest)
            for message in page.messages:
                if message.time >= time:
                    return message.offset - 1
            after = max(after, page.end)
        return after

    async def before_last(self, stream: Stream, n: int, upto: int, oldest: int) -> int:
        """The offset just before the ``n`` newest messages up to ``upto``."""
        found, start = 0, upto
        async for messages in self._backwards(stream, upto + 1, upto):
            for message in reversed(messages):
                if not message.expired(oldest):
                    if found == n:
                        return message.offset
                    found, start = found + 1, message.offset - 1
        return start

    async def earlier(
        self, stream: Stream, before: int, upto: int, oldest: int, limit: int, size: int
    ) -> Earlier:
        """The newest messages with ``offset < before``: at most ``limit``, and no further one once
        they have ``size`` bytes. ``upto`` is the room's head. Raises `Unavailable` or
        `NoSuchStream`."""
        taken: list[Message] = []
        expired = False
        async for messages in self._backwards(stream, before, upto):
            for message in reversed(messages):
                if message.expired(oldest):
                    expired = True  # the broker will remove it soon
                elif len(taken) == limit or size <= 0:
                    return Earlier(taken[::-1], more=True, gap=False)
                else:
                    taken.append(message)
                    size -= len(message.json)
        gap = not taken and before > 0 and (expired or await self.first(stream) > 0)
        return Earlier(taken[::-1], more=False, gap=gap)

    async def _backwards(
        self, stream: Stream, before: int, upto: int
    ) -> AsyncIterator[Sequence[Message]]:
        """The messages with ``offset < before``, a block at a time, the newest block first."""
        for index in range((before - 1) // BLOCK, -1, -1):
            block = await self._blocks.judged(stream, index, upto)
            messages = block.messages or ()
            yield messages[: bisect_left(messages, before, key=_offset)]
            start = index * BLOCK
            begun = bool(block.records) and block.records[0][0] == start
            # either retention removed what lies before, or offsets skip
            if not begun and start <= await self.first(stream):
                return


@define
class _Filling:
    """A page being filled, block by block; ``left`` messages more fit in."""

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
        """Add messages of a block; whether the page is full."""
        start = bisect_right(messages, self.after, key=_offset)
        for message in islice(messages, start, None):
            if message.offset > self.upto:
                break
            if not self.left or self._bytes <= 0:
                return True
            self.end = message.offset
            if not message.expired(self.oldest):
                self.taken.append(message)
                self.left -= 1
                self._bytes -= len(message.json)
            elif not self.taken:
                self.lost = True  # expired, though the broker has not removed it yet
        return False


def _offset(message: Message) -> int:
    return message.offset
