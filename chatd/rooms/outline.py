"""What the records of a block are, without their bodies: enough to find where a reader starts, and
how much of the stream a page takes, without reading either."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from attrs import define, field

from chatd.protocol.messages import WINDOW, Claim, Message
from chatd.rooms.dating import Dates, Dating
from chatd.rooms.deduplication import DeduplicationWindow

#: Offsets in a block.
BLOCK = 256
#: Bytes of shown messages at which a piece of a block is full.
PIECE_BYTES = 48 * 1024

#: Stands for a key, a claim or a time that there is not; `content_key` never returns it, and no
#: time is so early.
_NONE = -(1 << 63)

#: An offset, the message there (None for a record that is none), and the bytes it takes.
Parsed = tuple[int, Message | None, int]


def last_of(index: int) -> int:
    """The last offset of the block at ``index``."""
    return (index + 1) * BLOCK - 1


@define(eq=False)
class Outline:
    """The records of the block at ``index``, up to the offset ``known``, which grows.

    Of each record: its offset in the block, its deduplication key, the time that its body claims,
    who wrote it, and its size: 22 bytes, and 8 for the time it is shown with, once `judge` has
    found which of them are shown.
    """

    index: int
    known: int = field(init=False)
    _places: bytearray = field(factory=bytearray, init=False)
    _keys: array[int] = field(factory=lambda: array("q"), init=False)
    _claims: array[int] = field(factory=lambda: array("q"), init=False)
    _foreign: bytearray = field(factory=bytearray, init=False)
    _sizes: array[int] = field(factory=lambda: array("I"), init=False)
    #: Where the pieces begin.
    _cuts: bytearray = field(factory=bytearray, init=False)
    _filled: int = field(default=PIECE_BYTES, init=False)
    #: The time each record is shown with; `_NONE` for what is not shown. None before `judge`.
    _times: array[int] | None = field(default=None, init=False)
    #: Which are shown, and the earliest time that one of them claims.
    _shown: bytes = field(default=b"", init=False)
    _earliest: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.known = self.index * BLOCK - 1

    def __len__(self) -> int:
        return len(self._places)

    @property
    def whole(self) -> bool:
        """Whether the block cannot grow any more."""
        return self.known >= last_of(self.index)

    # -- what is read ------------------------------------------------------------------------------

    def continues(self, records: Sequence[Parsed], start: int) -> bool:
        """Whether ``records``, read from the one at ``start`` on, begin with it: else some are
        missing between."""
        if not self._places:
            return True
        return bool(records) and records[0][0] == start and self.fits(records[:1])

    def extend(self, records: Sequence[Parsed], known: int) -> None:
        """Add those of ``records`` that are new; the stream was read up to ``known``."""
        for offset, message, size in records:
            if offset > self.known:
                self._add(offset - self.index * BLOCK, message, size)
        if known > self.known:
            self.known, self._times = known, None

    def _add(self, place: int, message: Message | None, size: int) -> None:
        claim = message.claim if message is not None else None
        if self._filled >= PIECE_BYTES:
            self._cuts.append(len(self))
            self._filled = 0
        self._filled += size
        self._places.append(place)
        self._keys.append(message.key if message is not None else _NONE)
        self._claims.append(_NONE if claim is None else claim.time)
        self._foreign.append(claim is not None and claim.foreign)
        self._sizes.append(size)

    def fits(self, records: Sequence[Parsed]) -> bool:
        """Whether all of ``records`` are the ones known by their offsets."""
        return all(self._is(self.at(record[0]), record) for record in records)

    def _is(self, i: int, record: Parsed) -> bool:
        offset, message, _ = record
        key = message.key if message is not None else _NONE
        return i < len(self) and self.offset(i) == offset and self._keys[i] == key

    # -- which are shown ---------------------------------------------------------------------------

    @property
    def judged(self) -> bool:
        """Whether it is known which records are shown."""
        return self._times is not None

    @property
    def _judgements(self) -> Iterator[tuple[int | None, Claim | None]]:
        for key, time, foreign in zip(self._keys, self._claims, self._foreign, strict=True):
            claim = None if time == _NONE else Claim(time, bool(foreign))
            yield (None if key == _NONE else key, claim)

    def judge(self, before: Sequence[Outline], dating: Dating, dates: Dates) -> None:
        """Find which records are no repeats, and their times. ``before`` are the outlines of the
        blocks before this one, with `WINDOW` records or all that there are."""
        known = [pair for outline in (*before, self) for pair in outline._judgements]
        times = dates.resolve([claim for _, claim in known], dating.now)
        window = DeduplicationWindow(dating.retention.age * 1000)
        hidden = [window.repeats(key, claim) or key is None for key, claim in known]
        own = list(zip(hidden, times, strict=True))[len(known) - len(self) :]
        self._times = array("q", (_NONE if hide else time for hide, time in own))
        self._shown = bytes(i for i, (hide, _) in enumerate(own) if not hide)
        dated = [self._claims[i] for i in self._shown if self._is_dated(i)]
        self._earliest = min(dated, default=-_NONE - 1)

    def _is_dated(self, i: int) -> bool:
        return self._times is not None and self._times[i] == self._claims[i]

    def time(self, i: int) -> int:
        """The time (milliseconds since the epoch) that a judged record is shown with."""
        assert self._times is not None
        return self._times[i]

    def visible(self, oldest: int, before: int) -> bytes:
        """The places in this outline of the judged records that are shown, lie before the offset
        ``before``, and are not from before the time ``oldest``."""
        shown = self.shown(before)
        if self._earliest >= oldest:
            return shown
        return bytes(i for i in shown if self.time(i) >= oldest or not self._is_dated(i))

    def shown(self, before: int) -> bytes:
        """As `visible`, expired or not."""
        return self._shown[: bisect_left(self._shown, self.at(before))]

    def message(self, record: Parsed) -> Message | None:
        """The message as it is shown, None if it is not."""
        offset, message, _ = record
        time = self.time(self.at(offset))
        if message is None or time == _NONE:
            return None
        return message.at(time)

    # -- where they are ----------------------------------------------------------------------------

    def at(self, offset: int) -> int:
        """The place in this outline of the first record at or after ``offset``; the length if there
        is none."""
        return bisect_left(self._places, max(0, offset - self.index * BLOCK))

    def offset(self, i: int) -> int:
        """The offset of a record."""
        return self.index * BLOCK + self._places[i]

    def size(self, i: int) -> int:
        """The bytes of a record, as it is shown."""
        return self._sizes[i]

    def piece(self, i: int) -> tuple[int, int]:
        """The offsets of the first and of the last record of the piece that a record belongs to.
        Pieces are read as a whole, so that readers share them."""
        piece = bisect_right(self._cuts, i)
        end = self._cuts[piece] if piece < len(self._cuts) else len(self)
        return self.offset(self._cuts[piece - 1]), self.offset(end - 1)


def enough(before: Sequence[Outline]) -> bool:
    """Whether these are as many records as `Outline.judge` needs."""
    return sum(map(len, before)) >= WINDOW
