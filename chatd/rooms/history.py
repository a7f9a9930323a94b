"""Older messages, read from the broker in aligned blocks that all who catch up share.

Blocks of `BLOCK` offsets are read once and kept for a few seconds, so a thousand clients that
come back after a restart cost one read. Reads are few at a time and first come, first served.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from itertools import islice

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Record, Stream
from chatd.protocol.messages import WINDOW, BadRecord, Message
from chatd.rooms.cache import weight
from chatd.rooms.deduplication import Window
from chatd.rooms.records import message_of
from chatd.timing.singleflight import Shared

#: Offsets in a block; as many blocks before one hold the ids that its messages may repeat, unless
#: offsets skip.
BLOCK = 256
_BEFORE = -(-WINDOW // BLOCK)
#: Bytes of message objects kept, and for how many seconds: long enough to be shared, too short to
#: serve by size what retention has removed.
CACHE_BYTES = 16 * 1024 * 1024
CACHE_SECONDS = 5.0
#: Broker reads at a time.
READS = 4
#: A page handed to a reader: messages, and bytes after which no further one is begun.
PAGE_MESSAGES = 128
PAGE_BYTES = 48 * 1024


@define(eq=False)
class Block:
    """The records of one stretch of a stream, by offset; None for one that is no message."""

    records: Sequence[tuple[int, Message | None]]
    #: Offset up to which the stream was read when the block was.
    known: int
    read_at: float
    size: int = field(init=False)
    #: The messages that repeat no earlier one, once somebody has asked for them.
    messages: Sequence[Message] | None = None

    def __attrs_post_init__(self) -> None:
        self.size = 500 + sum(weight(m) for _, m in self.records if m)


@frozen
class Page:
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


class Archive:
    """Reads the past of all rooms of a node."""

    def __init__(self, broker: IBroker, clock: IReactorTime) -> None:
        self._broker = broker
        self._clock = clock
        self._blocks: OrderedDict[tuple[Stream, int], Block] = OrderedDict()
        self._size = 0
        self._reading: Shared[tuple[Stream, int, int], dict[int, Block]] = Shared()
        self._turn = DeferredSemaphore(READS)

    async def page(
        self,
        stream: Stream,
        after: int,
        upto: int,
        oldest: int,
        limit: int = PAGE_MESSAGES,
    ) -> Page:
        """Read up to ``limit`` messages with ``after < offset <= upto``, none from before the
        time ``oldest`` (milliseconds). Fails with `Unavailable` or `NoSuchStream`."""
        # from the cursor's own record on: if it does not come first, it is gone (protocol, 7)
        index = max(after, 0) // BLOCK
        page = _Filling(after, upto, oldest, limit)
        at = after
        while True:
            block = await self._judged(stream, index, upto)
            if not block.records or block.records[0][0] > at + 1:
                # retention may have removed what lay here; or offsets skip, which is no loss
                first = await self.first(stream)
                if first > at + 1:
                    if page.taken:
                        break  # the gap is told before what comes after it
                    page.lost = at < upto
                    index = max(index, min(first, upto + 1) // BLOCK)
                    block = await self._judged(stream, index, upto)
            if page.take(block.messages or ()):
                break
            at = max(at, block.records[-1][0] if block.records else at)
            index += 1
            if index * BLOCK > upto:
                return Page(page.taken, upto, page.lost)
            page.end = max(page.end, min(at, upto))
        return Page(page.taken, page.end, page.lost)

    def first(self, stream: Stream) -> Deferred[int]:
        """The offset of the oldest record there is, one past the end if there is none."""
        return self._turn.run(self._broker.locate, stream, 0)

    async def before_oldest(self, stream: Stream, upto: int, oldest: int) -> int:
        """The offset after which the oldest message kept lies (``upto`` if none is)."""
        first = await self.first(stream)
        if first > upto:
            return upto
        page = await self.page(stream, first - 1, upto, oldest, limit=1)
        return page.messages[0].offset - 1 if page.messages else page.end

    async def before_time(self, stream: Stream, time: int, upto: int, oldest: int) -> int:
        """The offset after which the first message at or after ``time`` lies (``upto`` if none)."""
        start = await self._turn.run(self._broker.locate, stream, time)
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
                if message.time >= oldest:
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
                if message.time < oldest:
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
            block = await self._judged(stream, index, upto)
            messages = block.messages or ()
            yield messages[: bisect_left(messages, before, key=_offset)]
            start = index * BLOCK
            begun = bool(block.records) and block.records[0][0] == start
            # retention may have removed what lay here and before; or offsets skip
            if not begun and start <= await self.first(stream):
                return

    async def _judged(self, stream: Stream, index: int, upto: int) -> Block:
        """The block at ``index``, its `Block.messages` without those that repeat an earlier one."""
        block = self._cached(stream, index, upto)
        if block is None or block.messages is None:
            before = max(0, index - _BEFORE)
            blocks = await self._load(stream, before, index, upto)
            while before and _short(blocks, before, index):
                before = max(0, before - _BEFORE)
                blocks |= await self._load(stream, before, index, upto)
            block = blocks[index]
            block.messages = _unrepeated(blocks, index)
        return block

    async def _load(self, stream: Stream, first: int, last: int, upto: int) -> dict[int, Block]:
        """The blocks from ``first`` to ``last``, by index."""
        wanted = range(first, last + 1)
        found = {i: b for i in wanted if (b := self._cached(stream, i, upto)) is not None}
        missing = [i for i in wanted if i not in found]
        if missing:
            stop = min((missing[-1] + 1) * BLOCK, max(upto, missing[-1] * BLOCK) + 1)
            span = (stream, missing[0], stop)
            found |= await self._reading.run(span, lambda: self._read(*span))
        return found

    def _cached(self, stream: Stream, index: int, upto: int) -> Block | None:
        block = self._blocks.get((stream, index))
        if block is None or self._clock.seconds() - block.read_at > CACHE_SECONDS:
            return None
        # the newest block grows: it serves only those who do not look beyond what it holds
        return block if block.known >= min(upto, (index + 1) * BLOCK - 1) else None

    async def _read(self, stream: Stream, first: int, stop: int) -> dict[int, Block]:
        records = await self._turn.run(self._broker.read, stream, first * BLOCK, stop)
        parts: dict[int, list[tuple[int, Message | None]]] = {
            i: [] for i in range(first, -(-stop // BLOCK))
        }
        for record in records:
            message = self._message(stream, record)
            parts[record.offset // BLOCK].append((record.offset, message))
        now = self._clock.seconds()
        blocks = {i: Block(part, stop - 1, now) for i, part in parts.items()}
        for i, block in blocks.items():
            self._keep((stream, i), block)
        return blocks

    def _message(self, stream: Stream, record: Record) -> Message | None:
        try:
            return message_of(stream, record)
        except BadRecord:
            return None  # counted and logged by the room when it was new

    def _keep(self, key: tuple[Stream, int], block: Block) -> None:
        old = self._blocks.pop(key, None)
        self._size += block.size - (old.size if old else 0)
        self._blocks[key] = block
        while self._blocks and (
            self._size > CACHE_BYTES
            or block.read_at - next(iter(self._blocks.values())).read_at > CACHE_SECONDS
        ):
            self._size -= self._blocks.popitem(last=False)[1].size


def _short(blocks: dict[int, Block], first: int, index: int) -> bool:
    """Whether the blocks before ``index`` hold too few records to tell what is repeated there,
    and the stream may have more before the block ``first``."""
    held = sum(len(blocks[i].records) for i in blocks if i < index)
    return held < WINDOW and bool(blocks[first].records)


def _unrepeated(blocks: dict[int, Block], index: int) -> Sequence[Message]:
    window = Window()
    for i in sorted(blocks):
        if i < index:
            for _, message in blocks[i].records:
                window.repeats(message.key if message else None)
    return [
        message
        for _, message in blocks[index].records
        if not window.repeats(message.key if message else None) and message
    ]


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
            if message.time >= self.oldest:
                self.taken.append(message)
                self.room -= 1
                self._bytes -= len(message.json)
            elif not self.taken:
                self.lost = True  # expired but not yet removed by the broker: as good as gone
        return False


def _offset(message: Message) -> int:
    return message.offset
