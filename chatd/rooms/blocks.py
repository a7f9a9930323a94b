"""A block cache over the broker: streams are read in aligned blocks that all readers share.

A block of `BLOCK` offsets is read once and kept for a few seconds, so a thousand clients that
reconnect after a restart cost one read. At most `READS` reads run at a time, in order of request.

Which messages of a block are repeats, and which times are plausible, depends on the `WINDOW`
records before it. The deduplication keys and times of those are kept longer than the blocks, so
that scrolling back slowly does not read five blocks for each one shown.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Record, Stream
from chatd.protocol.messages import WINDOW, BadRecord, Message
from chatd.rooms.cache import weight
from chatd.rooms.dating import Dating
from chatd.rooms.deduplication import DeduplicationWindow
from chatd.rooms.records import message_of
from chatd.timing.singleflight import SingleFlight

#: Offsets in a block.
BLOCK = 256
#: Blocks that hold the `WINDOW` records before a block, unless offsets skip.
_BEFORE = -(-WINDOW // BLOCK)
#: Bytes of messages cached, and seconds for which: long enough to be shared, too short to show
#: what retention by size has removed.
CACHE_BYTES = 16 * 1024 * 1024
CACHE_SECONDS = 5.0
#: Blocks whose keys are cached, about 10 KB each.
CACHE_KEYS = 512
#: Concurrent reads from the broker.
READS = 4
#: Records parsed at a time: some 3 ms where each holds 16 KiB.
SLICE = 32

#: Of each record its deduplication key, and the time that its body claims; None where it has none.
Keys = Sequence[tuple[int | None, int | None]]


@define(eq=False)
class Block:
    """`BLOCK` offsets of a stream. ``records`` are (offset, message) pairs, with None for a record
    that is no message; ``read_at`` is in the clock's seconds, ``size`` about the bytes of memory.
    """

    records: Sequence[tuple[int, Message | None]]
    #: The offset up to which the stream was read when the block was.
    known: int
    read_at: float
    size: int = field(init=False)
    #: The messages without repeats; None until `Blocks.judged` has found them.
    messages: Sequence[Message] | None = None

    def __attrs_post_init__(self) -> None:
        self.size = 500 + sum(weight(m) for _, m in self.records if m)

    @property
    def keys(self) -> Keys:
        return [(m.key, m.claim) if m else (None, None) for _, m in self.records]


class Blocks:
    """The block cache of one node, over all streams."""

    def __init__(self, broker: IBroker, clock: IReactorTime, dating: Dating) -> None:
        self._broker = broker
        self._dating = dating
        self._clock = clock
        self._kept: OrderedDict[tuple[Stream, int], Block] = OrderedDict()
        self._size = 0
        self._keys: OrderedDict[tuple[Stream, int], Keys] = OrderedDict()
        self._reading: SingleFlight[tuple[Stream, int, int], dict[int, Block]] = SingleFlight()
        self._turn = DeferredSemaphore(READS)
        #: Reads that have more to parse.
        self._slices: deque[Deferred[None]] = deque()

    def locate(self, stream: Stream, time: int) -> Deferred[int]:
        """As `IBroker.locate`; waits for one of the `READS` slots."""
        return self._turn.run(self._broker.locate, stream, time)

    async def judged(self, stream: Stream, index: int, upto: int) -> Block:
        """The block at ``index`` with `Block.messages` set. ``upto`` is the last offset that the
        caller wants. Raises `Unavailable` or `NoSuchStream`."""
        block = self._cached(stream, index, upto)
        if block is None or block.messages is None:
            low = max(0, index - _BEFORE)
            keys, block = await self._with_keys(stream, low, index, upto)
            while low and _short(keys, low):
                index_before, low = low, max(0, low - _BEFORE)
                more, _ = await self._with_keys(stream, low, index_before, upto)
                keys = {**more, **keys}
            block.messages = self._shown(stream, keys, block)
        return block

    def _shown(self, stream: Stream, keys: Mapping[int, Keys], block: Block) -> Sequence[Message]:
        """The messages of ``block`` without repeats, with plausible times; ``keys`` are those of
        the blocks before it."""
        before = [pair for i in sorted(keys) for pair in keys[i]]
        claims = [claim for _, claim in (*before, *block.keys)]
        times = self._dating.dates(stream).resolve(claims, self._dating.now)
        own = times[len(before) :]
        window = DeduplicationWindow(self._dating.retention.age * 1000)
        for (key, _), time in zip(before, times, strict=False):
            window.repeats(key, time)
        return [
            message if message.claim == time else message.at(time)
            for (_, message), time in zip(block.records, own, strict=True)
            if not window.repeats(message.key if message else None, time) and message
        ]

    async def _with_keys(
        self, stream: Stream, low: int, index: int, upto: int
    ) -> tuple[dict[int, Keys], Block]:
        """The keys of the blocks from ``low`` to before ``index``, and the block at ``index``."""
        keys = {i: k for i in range(low, index) if (k := self._known_keys(stream, i)) is not None}
        blocks: dict[int, Block] = {}
        for first, last in _runs(i for i in range(low, index + 1) if i not in keys):
            blocks |= await self._load(stream, first, last, upto)
        keys |= {i: block.keys for i, block in blocks.items() if i < index}
        return keys, blocks[index]

    def _known_keys(self, stream: Stream, index: int) -> Keys | None:
        keys = self._keys.get((stream, index))
        if keys is not None:
            self._keys.move_to_end((stream, index))
        return keys

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
        block = self._kept.get((stream, index))
        if block is None or self._clock.seconds() - block.read_at > CACHE_SECONDS:
            return None
        # the newest block grows: it only serves readers who want nothing beyond `known`
        return block if block.known >= min(upto, _last_of(index)) else None

    async def _read(self, stream: Stream, first: int, stop: int) -> dict[int, Block]:
        records = await self._turn.run(self._broker.read, stream, first * BLOCK, stop)
        parts: dict[int, list[tuple[int, Message | None]]] = {
            i: [] for i in range(first, -(-stop // BLOCK))
        }
        for at in range(0, len(records), SLICE):
            if at:
                await self._next_slice()
            for record in records[at : at + SLICE]:
                message = self._message(stream, record)
                parts[record.offset // BLOCK].append((record.offset, message))
        now = self._clock.seconds()
        blocks = {i: Block(part, stop - 1, now) for i, part in parts.items()}
        for i, block in blocks.items():
            self._keep((stream, i), block)
        return blocks

    async def _next_slice(self) -> None:
        """Wait until more records may be parsed: one slice of one read in each turn of the
        reactor, so that everyone else is served in between."""
        waiter: Deferred[None] = Deferred()
        self._slices.append(waiter)
        if len(self._slices) == 1:
            self._clock.callLater(0, self._resume)
        await waiter

    def _resume(self) -> None:
        waiter = self._slices.popleft()
        if self._slices:
            self._clock.callLater(0, self._resume)
        waiter.callback(None)

    def _message(self, stream: Stream, record: Record) -> Message | None:
        try:
            return message_of(stream, record)
        except BadRecord:
            return None  # the room that follows the stream counts and logs it

    def _keep(self, key: tuple[Stream, int], block: Block) -> None:
        if block.known >= _last_of(key[1]):
            self._keys[key] = block.keys
            if len(self._keys) > CACHE_KEYS:
                self._keys.popitem(last=False)
        old = self._kept.pop(key, None)
        self._size += block.size - (old.size if old else 0)
        self._kept[key] = block
        while self._kept and (
            self._size > CACHE_BYTES
            or block.read_at - next(iter(self._kept.values())).read_at > CACHE_SECONDS
        ):
            self._size -= self._kept.popitem(last=False)[1].size


def _last_of(index: int) -> int:
    """The last offset of the block at ``index``."""
    return (index + 1) * BLOCK - 1


def _runs(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """The first and last of each run of consecutive numbers in ascending ``indexes``."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def _short(keys: Mapping[int, Keys], low: int) -> bool:
    """Whether these are fewer than `WINDOW` keys, and the stream may have more before block
    ``low``."""
    return sum(map(len, keys.values())) < WINDOW and bool(keys[low])
