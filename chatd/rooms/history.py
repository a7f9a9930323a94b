"""Older messages, a page at a time: onward from a cursor, or back from it; and where to start."""

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

#: A page handed to a reader: messages, and bytes after which no further one is begun.
PAGE_MESSAGES = 128
PAGE_BYTES = 48 * 1024


@frozen
class HistoryPage:
    """Messages after a cursor. ``end`` is the offset to continue after; ``gap`` says that some
    between the cursor and the first message (or ``end``) are no longer kept."""

    messages: Sequence[Message]
    end: int
    gap: bool


@frozen
class Earlier:
    """Messages before a cursor, in order. ``more``: older ones are kept; ``gap``: there were some
    right before the cursor, and none is kept any more."""

    messages: Sequence[Message]
    more: bool
    gap: bool


class History:
    """Reads the past of all rooms of a node."""

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
        """Read up to ``limit`` messages with ``after < offset <= upto``, none from before the
        time ``oldest`` (milliseconds). Fails with `Unavailable` or `NoSuchStream`."""
        # from the cursor's own record on: if it does not come first, it is gone (protocol, 7)
        index = max(after, 0) // BLOCK
        page = _Filling(after, upto, oldest, limit)
        at = after
        while True:
            block = await self._blocks.judged(stream, index, upto)
            if not block.records or block.records[0][0] > at + 1:
                # retention may have removed what lay here; or offsets skip, which is no loss
                first = await self.first(stream)
                if first > at + 1:
                    if page.taken:
                        break  # the gap is told before what comes after it
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
        """The offset of the oldest record there is, one past the end if there is none."""
        return self._blocks.locate(stream, 0)

    async def before_oldest(self, stream: Stream, upto: int, oldest: int) -> int:
        """The offset after which the oldest message kept lies (``upto`` if none is)."""
        first = await self.first(stream)
        if first > upto:
            return upto
        page = await self.page(stream, first - 1, upto, oldest, limit=1)
        return page.messages[0].offset - 1 if page.messages else page.end

    async def before_time(self, stream: Stream, time: int, upto: int, oldest: int) -> int:
        """The offset after which the first message at or after ``time`` lies (``upto`` if none)."""
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
        """The offset after which the ``n`` newest messages up to ``upto`` lie."""
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
        """Read the newest messages with ``offset < before``: at most ``limit``, none begun after
        ``size`` bytes. ``upto`` is the room's head. Fails with `Unavailable` or `NoSuchStream`."""
        taken: list[Message] = []
        expired = False
        async for messages in self._backwards(stream, before, upto):
            for message in reversed(messages):
                if message.expired(oldest):
                    expired = True  # but not yet removed by the broker: as good as gone
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
            # retention may have removed what lay here and before; or offsets skip
            if not begun and start <= await self.first(stream):
                return


@define
class _Filling:
    """A page being filled, block by block."""

    after: int
    upto: int
    oldest: int
    room: int
    lost: bool = False
    taken: list[Message] = field(factory=list)
    end: int = field(init=False)
    _bytes: int = PAGE_BYTES

    def __attrs_post_init__(self) -> None:
        self.end = self.after

    def take(self, messages: Sequence[Message]) -> bool:
        """Take what is wanted of a block's ``messages``; whether the page is full."""
        start = bisect_right(messages, self.after, key=_offset)
        for message in islice(messages, start, None):
            if message.offset > self.upto:
                break
            if not self.room or self._bytes <= 0:
                return True
            self.end = message.offset
            if not message.expired(self.oldest):
                self.taken.append(message)
                self.room -= 1
                self._bytes -= len(message.json)
            elif not self.taken:
                self.lost = True  # expired but not yet removed by the broker: as good as gone
        return False


def _offset(message: Message) -> int:
    return message.offset
