"""A cache over the broker: streams are read in aligned blocks and pieces that all readers share.

Of a block of `BLOCK` offsets an outline is kept (`chatd.rooms.outline`), which tells where a reader
starts. Which of its records are shown depends on the outlines of the blocks before it. Messages are
read in pieces of a block, which are kept for a few seconds, so a thousand clients that reconnect
after a restart cost one read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Record, Stream, Unavailable
from chatd.protocol.messages import BadRecord, Message
from chatd.rooms.cache import weight
from chatd.rooms.dating import Dating
from chatd.rooms.outline import BLOCK, Outline, Parsed, enough, last_of
from chatd.rooms.read_queue import ReadQueue
from chatd.rooms.records import message_of
from chatd.timing.singleflight import SingleFlight
from chatd.timing.turn_queue import TurnQueue

#: Bytes of messages cached, and seconds for which: long enough to be shared, too short to show
#: what retention by size has removed.
CACHE_BYTES = 16 * 1024 * 1024
CACHE_SECONDS = 5.0
#: Outlines cached, 8 KB each at most.
CACHE_OUTLINES = 1024
#: Times that a piece is read anew because the broker has other records than it had.
TRIES = 3
#: Readers who go on in one turn of the reactor: when what they all wait for was read, or from page
#: to page.
READERS = 16
#: Records, and bytes of them, that are parsed in one turn of the reactor: a millisecond's work.
SLICE = 32
SLICE_BYTES = 128 * 1024


@frozen
class Portion:
    """The messages of a piece, up to the offset ``end``. ``sure``: the stream has all its records
    from the offset asked for on; otherwise some before the first one here may be gone."""

    messages: Sequence[Message]
    end: int
    sure: bool


@define(eq=False)
class _Piece:
    """Neighbouring records of a stream, which were read at ``read_at`` (the clock's seconds)."""

    records: Sequence[Parsed]
    #: The offset of the last record that was asked for.
    last: int
    read_at: float
    size: int = field(init=False)
    #: The messages to be shown; None until they were asked for.
    _messages: Sequence[Message] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.size = 500 + sum(weight(m) for _, m, _ in self.records if m)

    def has(self, offset: int) -> bool:
        at = bisect_left(self.records, offset, key=_offset)
        return at < len(self.records) and self.records[at][0] == offset

    def messages(self, outline: Outline) -> Sequence[Message]:
        if self._messages is None:
            shown = (outline.message(record) for record in self.records)
            self._messages = [message for message in shown if message is not None]
        return self._messages


class Blocks:
    """The cache of one node, over all streams. Methods raise `Unavailable` or `NoSuchStream`; reads
    from the broker are counted to ``asker`` (`ReadQueue`)."""

    def __init__(self, broker: IBroker, clock: IReactorTime, dating: Dating) -> None:
        self._broker = broker
        self._dating = dating
        self._clock = clock
        self._outlines: OrderedDict[tuple[Stream, int], Outline] = OrderedDict()
        self._pieces: OrderedDict[tuple[Stream, int], _Piece] = OrderedDict()
        self._size = 0
        #: A thousand clients that read at once must not delay everyone at the head.
        self.turns = turns = TurnQueue(clock, READERS)
        self._outlining: SingleFlight[tuple[Stream, int, int], Outline] = SingleFlight(turns)
        self._reading: SingleFlight[tuple[Outline, int, int], _Piece | None] = SingleFlight(turns)
        self._queue = ReadQueue(clock)
        #: One slice, of whatever is parsed, in each turn.
        self._slices = TurnQueue(clock, 1)

    def locate(self, stream: Stream, time: int, asker: str) -> Deferred[int]:
        """As `IBroker.locate`."""
        return Deferred.fromCoroutine(self._queue.run(asker, self._broker.locate, stream, time))

    async def outline(self, stream: Stream, index: int, upto: int, asker: str) -> Outline:
        """The outline of the block at ``index``, judged. ``upto`` is the last offset that the
        caller wants."""
        outline = await self._outline(stream, index, upto, asker)
        await self._judge(stream, outline, asker)
        return outline

    async def portion(self, stream: Stream, start: int, upto: int, asker: str) -> Portion:
        """The piece with the first record at or after the offset ``start``, from there on."""
        index = start // BLOCK
        for _ in range(TRIES):
            outline = await self.outline(stream, index, upto, asker)
            i = outline.at(start)
            if i == len(outline):
                return Portion((), outline.known, sure=i > 0)
            piece = await self._piece(stream, outline, i, asker)
            if piece is not None:
                await self._judge(stream, outline, asker)  # it may have grown meanwhile
                begins = i > 0 or outline.offset(0) == start
                sure = begins and piece.has(outline.offset(i))
                return Portion(piece.messages(outline), piece.last, sure)
        raise Unavailable("the stream has changed")

    # -- outlines ----------------------------------------------------------------------------------

    async def _judge(self, stream: Stream, outline: Outline, asker: str) -> None:
        """Judge ``outline`` if it was not since it grew. It may grow, for another reader, whenever
        something is awaited."""
        while not outline.judged:
            before = await self._before(stream, outline.index, asker)
            if not outline.judged:  # by another who awaited the same
                outline.judge(before, self._dating, self._dating.dates(stream))

    async def _before(self, stream: Stream, index: int, asker: str) -> Sequence[Outline]:
        """The outlines that are needed to judge that of the block at ``index``."""
        before: list[Outline] = []
        while index and not enough(before):
            index -= 1
            outline = await self._outline(stream, index, last_of(index), asker)
            if not len(outline):
                break  # what was there is gone
            before.insert(0, outline)
        return before

    async def _outline(self, stream: Stream, index: int, upto: int, asker: str) -> Outline:
        known = min(upto, last_of(index))
        outline = self._outlines.get((stream, index))
        if outline is not None and outline.known >= known:
            self._outlines.move_to_end((stream, index))
            return outline
        flight = (stream, index, known)
        return await self._outlining.run(flight, lambda: self._read_outline(*flight, asker))

    async def _read_outline(self, stream: Stream, index: int, known: int, asker: str) -> Outline:
        """Read what is missing in an outline up to the offset ``known``, from its last record
        on: if that does not come first, records are missing between."""
        outline = self._outlines.get((stream, index)) or Outline(index)
        start = outline.offset(len(outline) - 1) if len(outline) else index * BLOCK
        records = await self._read(stream, start, known, asker)
        if not outline.continues(records, start):
            self._forget(stream)
            outline = Outline(index)
            records = await self._read(stream, index * BLOCK, known, asker)
        outline.extend(records, known)
        self._keep_outline((stream, index), outline)
        self._keep_pieces(stream, outline, records)
        return outline

    def _keep_outline(self, key: tuple[Stream, int], outline: Outline) -> None:
        self._outlines[key] = outline
        self._outlines.move_to_end(key)
        if len(self._outlines) > CACHE_OUTLINES:
            self._outlines.popitem(last=False)

    def _forget(self, stream: Stream) -> None:
        """The broker has other records of ``stream`` than it had, as after the death of a leader
        (protocol, "AMQP")."""
        for key in [key for key in self._outlines if key[0] == stream]:
            del self._outlines[key]
        for key in [key for key in self._pieces if key[0] == stream]:
            self._size -= self._pieces.pop(key).size

    # -- pieces ------------------------------------------------------------------------------------

    async def _piece(self, stream: Stream, outline: Outline, i: int, asker: str) -> _Piece | None:
        """The piece of the record ``i``; None if the broker has other records by now."""
        first, last = outline.piece(i)
        piece = self._pieces.get((stream, first))
        if (
            piece is not None
            and piece.last == last
            and self._clock.seconds() - piece.read_at <= CACHE_SECONDS
        ):
            return piece
        flight = (outline, first, last)
        return await self._reading.run(flight, lambda: self._read_piece(stream, *flight, asker))

    async def _read_piece(
        self, stream: Stream, outline: Outline, first: int, last: int, asker: str
    ) -> _Piece | None:
        records = await self._read(stream, first, last, asker)
        if not outline.fits(records):
            self._forget(stream)
            return None
        piece = _Piece(records, last, self._clock.seconds())
        self._keep((stream, first), piece)
        return piece

    def _keep_pieces(self, stream: Stream, outline: Outline, records: Sequence[Parsed]) -> None:
        """Keep the pieces of ``outline`` that are all in ``records``."""
        now = self._clock.seconds()
        at = 0
        while at < len(records):
            first, last = outline.piece(outline.at(records[at][0]))
            end = bisect_right(records, last, at, key=_offset)
            if records[at][0] == first and records[end - 1][0] == last:
                self._keep((stream, first), _Piece(records[at:end], last, now))
            at = end

    def _keep(self, key: tuple[Stream, int], piece: _Piece) -> None:
        old = self._pieces.pop(key, None)
        self._size += piece.size - (old.size if old else 0)
        self._pieces[key] = piece
        while self._pieces and (
            self._size > CACHE_BYTES
            or piece.read_at - next(iter(self._pieces.values())).read_at > CACHE_SECONDS
        ):
            self._size -= self._pieces.popitem(last=False)[1].size

    # -- reading -----------------------------------------------------------------------------------

    async def _read(self, stream: Stream, first: int, last: int, asker: str) -> Sequence[Parsed]:
        """The records from the offset ``first`` to ``last``, parsed in slices."""
        records = await self._queue.run(asker, self._broker.read, stream, first, last + 1)
        parsed: list[Parsed] = []
        count = size = 0
        for record in records:
            if count == SLICE or size >= SLICE_BYTES:
                await self._slices.wait()
                count = size = 0
            parsed.append(_parsed(stream, record))
            count, size = count + 1, size + len(record.body)
        return parsed


def _parsed(stream: Stream, record: Record) -> Parsed:
    try:
        message = message_of(stream, record)
    except BadRecord:  # the room that follows the stream counts and logs it
        return record.offset, None, len(record.body)
    return record.offset, message, len(message.json)


def _offset(record: Parsed) -> int:
    return record[0]
