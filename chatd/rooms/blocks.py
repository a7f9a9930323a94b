"""Streams read from the broker in aligned blocks that all who catch up share.

Blocks of `BLOCK` offsets are read once and kept for a few seconds, so a thousand clients that
come back after a restart cost one read. Reads are few at a time and first come, first served.

Which messages of a block repeat an earlier one, and what their times are, depends on the `WINDOW`
records before it. The keys of those are kept for longer than they are, so that who scrolls back at
leisure does not read five blocks for each one shown.
"""

from __future__ import annotations

from collections import OrderedDict
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

#: Offsets in a block; as many blocks before one hold the ids that its messages may repeat, unless
#: offsets skip.
BLOCK = 256
_BEFORE = -(-WINDOW // BLOCK)
#: Bytes of message objects kept, and for how many seconds: long enough to be shared, too short to
#: serve by size what retention has removed.
CACHE_BYTES = 16 * 1024 * 1024
CACHE_SECONDS = 5.0
#: Blocks of which the keys are kept: some 10 KB each.
CACHE_KEYS = 512
#: Broker reads at a time.
READS = 4

#: Of each record what it may be repeated by, and the time it carries; None for what it has not.
Keys = Sequence[tuple[int | None, int | None]]


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

    @property
    def keys(self) -> Keys:
        return [(m.key, m.claim) if m else (None, None) for _, m in self.records]


class Blocks:
    """The blocks of all streams that a node reads."""

    def __init__(self, broker: IBroker, clock: IReactorTime, dating: Dating) -> None:
        self._broker = broker
        self._dating = dating
        self._clock = clock
        self._kept: OrderedDict[tuple[Stream, int], Block] = OrderedDict()
        self._size = 0
        self._keys: OrderedDict[tuple[Stream, int], Keys] = OrderedDict()
        self._reading: SingleFlight[tuple[Stream, int, int], dict[int, Block]] = SingleFlight()
        self._turn = DeferredSemaphore(READS)

    def locate(self, stream: Stream, time: int) -> Deferred[int]:
        """See `IBroker.locate`; in its turn."""
        return self._turn.run(self._broker.locate, stream, time)

    async def judged(self, stream: Stream, index: int, upto: int) -> Block:
        """The block at ``index``, its `Block.messages` without those that repeat an earlier one.
        ``upto`` is the last offset of interest. Fails with `Unavailable` or `NoSuchStream`."""
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
        """The messages of ``block`` that repeat none of those before it, with their times."""
        window, claims = DeduplicationWindow(), list[int | None]()
        for i in sorted(keys):
            for key, claim in keys[i]:
                window.repeats(key)
                claims.append(claim)
        claims += [claim for _, claim in block.keys]
        times = self._dating.dates(stream).resolve(claims, self._dating.now)
        own = times[len(times) - len(block.records) :]
        return [
            message if message.claim == time else message.at(time)
            for (_, message), time in zip(block.records, own, strict=True)
            if not window.repeats(message.key if message else None) and message
        ]

    async def _with_keys(
        self, stream: Stream, low: int, index: int, upto: int
    ) -> tuple[dict[int, Keys], Block]:
        """The keys of the blocks from ``low`` on, and the block at ``index`` after them."""
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
        # the newest block grows: it serves only those who do not look beyond what it holds
        return block if block.known >= min(upto, _last_of(index)) else None

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
    """The first and last of each stretch of neighbours in ``indexes``, which ascend."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def _short(keys: Mapping[int, Keys], low: int) -> bool:
    """Whether these are too few keys to tell what is repeated after them, and the stream may have
    more before the block ``low``."""
    return sum(map(len, keys.values())) < WINDOW and bool(keys[low])
