"""Older messages, read from the broker in aligned blocks that all who catch up share.

Blocks of `BLOCK` offsets are read once and kept for a few seconds, so a thousand clients that
come back after a restart cost one read. Reads are few at a time and first come, first served.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from chatd.interfaces import IBroker, Record, Stream
from chatd.recent import Window
from chatd.sharing import Shared
from chatd.wire import WINDOW, BadRecord, Cursor, Message, read_message

#: Offsets in a block; the blocks before one hold the ids that its messages may repeat.
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


@frozen(eq=False)
class Block:
    """The records of one stretch of a stream, as messages; repetitions still among them."""

    messages: Sequence[Message]
    #: Offset up to which the stream was read when the block was.
    known: int
    read_at: float
    size: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "size", sum(len(m.json) for m in self.messages) + 256)


@frozen
class Page:
    """Messages after a cursor. ``end`` is the offset to continue after; ``gap`` says that some
    between the cursor and the first message (or ``end``) are no longer kept."""

    messages: Sequence[Message]
    end: int
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
        index = max(after, 0) // BLOCK
        blocks = await self._load(stream, index, upto)
        first = _first(blocks)
        if first is None:
            # retention may have removed more than these blocks: go on where something is left
            first = await self.first(stream)
            if first > upto:
                return Page([], upto, upto > after)
            index = max(index, first // BLOCK)
            blocks = await self._load(stream, index, upto)
        page = _Filling(after, upto, oldest, limit, lost=first > after + 1)
        page.prime(blocks, index)
        while not page.take(blocks[index]):
            index += 1
            if index * BLOCK > upto:
                return Page(page.taken, upto, page.lost)
            page.end = max(page.end, index * BLOCK - 1)
            blocks = await self._load(stream, index, upto)
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
                    return after
                after = message.offset
            after = max(after, page.end)
        return after

    async def before_last(self, stream: Stream, n: int, upto: int, oldest: int) -> int:
        """The offset after which the ``n`` newest messages up to ``upto`` lie."""
        index = max(upto, 0) // BLOCK
        found: list[int] = []
        while True:
            after = max(index * BLOCK - 1, -1)
            offsets = await self._offsets(stream, after, min(upto, after + BLOCK), oldest)
            found = offsets + found
            if len(found) > n:
                return found[-n - 1]
            if index == 0 or index * BLOCK <= await self.first(stream):
                return found[0] - 1 if found else upto
            index -= 1

    async def _offsets(self, stream: Stream, after: int, upto: int, oldest: int) -> list[int]:
        offsets: list[int] = []
        while after < upto:
            page = await self.page(stream, after, upto, oldest, limit=BLOCK)
            offsets += [m.offset for m in page.messages]
            after = page.end
        return offsets

    async def _load(self, stream: Stream, index: int, upto: int) -> dict[int, Block]:
        """The block at ``index`` and the `_BEFORE` blocks before it, by index."""
        wanted = range(max(0, index - _BEFORE), index + 1)
        found = {i: b for i in wanted if (b := self._cached(stream, i, upto)) is not None}
        missing = [i for i in wanted if i not in found]
        if missing:
            span = (stream, missing[0], min((missing[-1] + 1) * BLOCK, upto + 1))
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
        parts: dict[int, list[Message]] = {i: [] for i in range(first, -(-stop // BLOCK))}
        for record in records:
            message = self._message(stream, record)
            if message is not None:
                parts[record.offset // BLOCK].append(message)
        now = self._clock.seconds()
        blocks = {i: Block(part, stop - 1, now) for i, part in parts.items()}
        for i, block in blocks.items():
            self._keep((stream, i), block)
        return blocks

    def _message(self, stream: Stream, record: Record) -> Message | None:
        try:
            return read_message(stream.room, Cursor(stream.epoch, record.offset), record.body)
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


def _first(blocks: dict[int, Block]) -> int | None:
    return next((m.offset for i in sorted(blocks) for m in blocks[i].messages), None)


@define
class _Filling:
    """A page being filled, block by block."""

    after: int
    upto: int
    oldest: int
    room: int
    lost: bool
    taken: list[Message] = field(factory=list)
    end: int = field(init=False)
    _bytes: int = PAGE_BYTES
    _window: Window = field(factory=Window)

    def __attrs_post_init__(self) -> None:
        self.end = self.after

    def prime(self, blocks: dict[int, Block], index: int) -> None:
        """Learn the ids that the messages from the block ``index`` on may repeat."""
        for i in sorted(blocks):
            if i < index:
                for message in blocks[i].messages:
                    self._window.repeats(message.key)

    def take(self, block: Block) -> bool:
        """Take what is wanted of ``block``; whether the page is full."""
        for message in block.messages:
            repeated = self._window.repeats(message.key)
            if message.offset <= self.after:
                continue
            if message.offset > self.upto:
                break
            if not self.room or self._bytes <= 0:
                return True
            self.end = message.offset
            if message.time < self.oldest:
                # expired but not yet removed by the broker: as good as gone
                self.lost = self.lost or not self.taken
            elif not repeated:
                self.taken.append(message)
                self.room -= 1
                self._bytes -= len(message.json)
        return False
