"""The cache over the broker: what is asked of it, what that says, and what is kept."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Stream
from chatd.protocol.messages import Content
from chatd.rooms import blocks, outline
from chatd.rooms.blocks import CACHE_SECONDS, Blocks, Portion
from chatd.rooms.outline import BLOCK
from chatd.rooms.records import message_of
from tests.support.world import World


class BlocksCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, skip: int = 0) -> None:
        self.world = World(skip=skip)
        self.stream = self.world.stream()
        self.fresh()
        read = self.world.broker.read

        def noting(stream: Stream, start: int, stop: int) -> Deferred[Any]:
            self.reads.append((start, stop - 1))
            return read(stream, start, stop)

        self.patch(self.world.broker, "read", noting)

    def fresh(self) -> None:
        """A cache with nothing in it."""
        #: The first and the last offset of each read.
        self.reads: list[tuple[int, int]] = []
        node = self.world.sites[0].rooms.node
        self.blocks = Blocks(self.world.broker, self.world.clock, node.dating)

    def fill(self, count: int, start: int = 0) -> None:
        self.world.store("lobby", *(f"m{n}" for n in range(start, start + count)))

    def portion(self, start: int, upto: int, stream: Stream | None = None) -> Portion:
        asked = self.blocks.portion(stream or self.stream, start, upto, "192.0.2.7")
        return self.world.do(asked)

    def texts(self, start: int, upto: int, stream: Stream | None = None) -> list[str]:
        return [m.text for m in self.portion(start, upto, stream).messages]

    def sizes_agree(self) -> bool:
        kept = self.blocks
        return kept._size == sum(piece.size for piece in kept._pieces.values())


class SureTests(BlocksCase):
    """Whether there may have been more before the first record."""

    def sure(self, start: int, upto: int) -> bool:
        self.fresh()
        return self.portion(start, upto).sure

    def test_where_all_is_there(self) -> None:
        self.fill(1)
        self.assertTrue(self.sure(0, 0))
        self.assertTrue(self.sure(1, 1))
        self.fill(4, start=1)
        self.assertEqual([self.sure(start, 5) for start in range(6)], [True] * 6)

    def test_where_the_first_ones_are_gone(self) -> None:
        self.fill(10)
        self.world.broker.truncate(self.stream, 5)
        sure = [self.sure(start, 9) for start in range(3, 9)]
        self.assertEqual(sure, [False, False, True, True, True, True])

    def test_where_offsets_skip(self) -> None:
        self.make(skip=2)
        self.fill(4)  # at 0, 1, 3, 4
        self.assertEqual([self.sure(start, 4) for start in range(5)], [True] * 5)

    def test_where_nothing_is_there(self) -> None:
        self.assertEqual(self.portion(0, 3), Portion((), 3, sure=False))


class AskedTests(BlocksCase):
    """What is read, and in what pieces."""

    def test_what_has_come_since_from_the_last_record_on(self) -> None:
        """If that one does not come first, records are missing between."""
        self.fill(5)
        self.portion(0, 4)
        self.fill(5, start=5)
        self.world.do(self.blocks.outline(self.stream, 0, 9, ""))
        self.assertEqual(self.reads, [(0, 4), (4, 9)])
        self.assertEqual(self.texts(5, 9), [f"m{n}" for n in range(10)])
        self.assertEqual(self.reads[2:], [(0, 9)], "the piece has grown")

    def test_the_blocks_before_by_which_it_is_judged(self) -> None:
        self.fill(2 * BLOCK + 3)
        self.portion(2 * BLOCK, 2 * BLOCK + 2)
        expected = [(2 * BLOCK, 2 * BLOCK + 2), (BLOCK, 2 * BLOCK - 1), (0, BLOCK - 1)]
        self.assertEqual(self.reads, expected)

    def test_a_piece_is_read_again_after_a_while(self) -> None:
        self.patch(outline, "PIECE_BYTES", 1000)
        self.fill(30)
        pieces = {tuple(self.texts(start, 29)) for start in range(30)}
        self.assertEqual(self.reads, [(0, 29)], "all pieces came with the outline")
        self.assertEqual(sorted(text for piece in pieces for text in piece), sorted(self.said(30)))
        self.assertGreater(len(pieces), 2)
        self.world.clock.advance(CACHE_SECONDS)
        self.portion(12, 29)
        self.assertEqual(len(self.reads), 1)
        self.world.clock.advance(0.1)
        piece = self.texts(12, 29)
        numbers = [int(text[1:]) for text in piece]
        self.assertEqual(self.reads[1:], [(numbers[0], numbers[-1])])
        self.assertIn("m12", piece)
        self.assertEqual(self.texts(12, 29), piece)
        self.assertEqual(len(self.reads), 2)
        self.assertTrue(self.sizes_agree())

    def said(self, count: int) -> list[str]:
        return [f"m{n}" for n in range(count)]


class JudgedTests(BlocksCase):
    """Which records are shown depends on the blocks before theirs."""

    def test_a_repeat_of_what_lies_in_an_earlier_block(self) -> None:
        for earlier in (1, 2):
            self.make()
            self.world.store("lobby", "again")
            self.fill(earlier * BLOCK)
            self.world.store("lobby", "again", "last")
            end = earlier * BLOCK + 2
            self.assertEqual(self.texts(end - 1, end)[-2:], [f"m{earlier * BLOCK - 1}", "last"])

    def test_a_time_of_the_nearest_record_before_it(self) -> None:
        for block in range(2):
            at = self.world.now + 1000 * block
            for n in range(BLOCK):
                body = Content("ann", f"m{block}-{n}", "x").record(at)
                self.world.broker.store(self.stream, body, at)
        self.world.foreign("lobby", b'{"id":"k","user":"ann","text":"without a time"}')
        [message] = self.portion(2 * BLOCK, 2 * BLOCK).messages
        self.assertEqual(message.time, at)

    def test_again_when_it_grew_for_a_reader_who_has_gone(self) -> None:
        self.fill(10)
        self.portion(0, 9)
        self.world.advance(2 * CACHE_SECONDS)  # the piece is read again, its outline is known
        self.fill(10, start=10)
        answers: list[Deferred[None]] = []
        read = self.world.broker.read

        def slow(stream: Stream, start: int, stop: int) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1].addCallback(lambda _: read(stream, start, stop))

        with mock.patch.object(self.world.broker, "read", slow):
            first = self.world.begin(self.blocks.portion(self.stream, 0, 9, ""))
            further = Deferred.fromCoroutine(self.blocks.portion(self.stream, 10, 19, ""))
            further.cancel()
            self.failureResultOf(further, CancelledError)
            for answer in reversed(answers):
                answer.callback(None)
                self.world.turn()
        self.assertEqual([m.text for m in first[0].messages], [f"m{n}" for n in range(10)])


class ForgottenTests(BlocksCase):
    """The broker has other records of a stream than it had."""

    def setUp(self) -> None:
        super().setUp()
        self.world.do(self.world.sites[0].directory.create("other"))
        self.other = self.world.stream("other")
        self.world.store("other", "x", "y")
        self.world.do(self.world.broker.create(self.other))
        self.fill(3)
        self.portion(0, 1, self.other)
        self.portion(0, 2)
        self.reads.clear()

    def replace(self, count: int) -> None:
        """Other records come to lie where the known ones lay."""
        self.world.do(self.world.broker.delete(self.stream))
        self.world.do(self.world.broker.create(self.stream))
        for n in range(count):
            body = Content("ann", f"n{n}", f"n{n}").record(self.world.now)
            self.world.broker.store(self.stream, body, self.world.now)
        self.world.turn()

    def told(self) -> None:
        """What is kept of the other stream stays."""
        self.assertTrue(self.sizes_agree())
        self.reads.clear()
        self.assertEqual(self.texts(0, 1, self.other), ["x", "y"])
        self.assertEqual(self.reads, [])

    def test_noticed_when_more_is_read(self) -> None:
        self.replace(5)
        self.assertEqual(self.texts(0, 4), [f"n{n}" for n in range(5)])
        self.assertEqual(self.reads, [(2, 4), (0, 4)])
        self.told()

    def test_noticed_in_a_later_block(self) -> None:
        """That one is read anew, from its beginning, and those by which it is judged."""
        self.fill(BLOCK, start=3)
        self.portion(BLOCK, BLOCK + 2)
        self.reads.clear()
        self.replace(BLOCK + 5)
        self.assertEqual(self.texts(BLOCK, BLOCK + 4), [f"n{BLOCK + n}" for n in range(5)])
        expected = [(BLOCK + 2, BLOCK + 4), (BLOCK, BLOCK + 4), (0, BLOCK - 1)]
        self.assertEqual(self.reads, expected)
        self.told()

    def test_noticed_when_a_piece_is_read_again(self) -> None:
        self.replace(3)
        self.assertEqual(self.texts(0, 2), ["m0", "m1", "m2"], "it was read a moment ago")
        self.world.clock.advance(CACHE_SECONDS + 1)
        self.portion(0, 1, self.other)
        self.assertEqual(self.texts(0, 2), ["n0", "n1", "n2"])
        self.told()

    def test_fewer_records_than_there_were(self) -> None:
        self.replace(1)
        self.world.clock.advance(CACHE_SECONDS + 1)
        self.assertEqual(self.texts(0, 2), ["n0"])


class KeptTests(BlocksCase):
    def test_the_outlines_used_last(self) -> None:
        self.patch(blocks, "CACHE_OUTLINES", 2)
        self.fill(3 * BLOCK)
        for index, reads in ((0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 4)):
            self.world.do(self.blocks._outline(self.stream, index, 3 * BLOCK - 1, ""))
            self.assertEqual(len(self.reads), reads, index)

    def test_as_many_bytes_as_may_be(self) -> None:
        """The pieces that were read first go first."""
        self.patch(outline, "PIECE_BYTES", 1000)
        self.fill(60)
        self.portion(0, 59)
        each = max(piece.size for piece in self.blocks._pieces.values())
        self.patch(blocks, "CACHE_BYTES", 3 * each)
        self.fresh()
        for start in range(60):
            self.portion(start, 59)
            self.assertLessEqual(self.blocks._size, 3 * each)
        self.assertEqual(len(self.blocks._pieces), 3)
        self.assertTrue(self.sizes_agree())
        self.reads.clear()
        self.portion(59, 59)
        self.assertEqual(self.reads, [])

    def test_for_as_long_as_may_be(self) -> None:
        """What nobody asks for any more does not stay."""
        self.patch(outline, "PIECE_BYTES", 1000)
        self.fill(60)
        self.portion(0, 59)
        self.world.clock.advance(CACHE_SECONDS + 1)
        self.portion(30, 59)
        self.assertEqual(len(self.blocks._pieces), 1)
        self.assertTrue(self.sizes_agree())


class SlicedTests(BlocksCase):
    """A long read is parsed a little in each turn of the reactor."""

    def slices(self) -> list[int]:
        """How many records had been parsed whenever it waited for its next turn."""
        parsed = mock.Mock(side_effect=message_of)
        waited: list[int] = []

        async def wait() -> None:
            waited.append(parsed.call_count)

        self.patch(blocks, "message_of", parsed)
        self.patch(self.blocks, "_slices", mock.Mock(wait=wait))
        self.portion(0, self.world.do(self.world.broker.end(self.stream)))
        return waited

    def test_so_many_at_a_time(self) -> None:
        self.patch(blocks, "SLICE", 4)
        self.fill(12)
        self.assertEqual(self.slices(), [4, 8])

    def test_so_many_bytes_at_a_time(self) -> None:
        self.fill(10)
        size = len(Content("raw", "m0", "m0").record(self.world.now))
        self.patch(blocks, "SLICE_BYTES", 3 * size)
        self.assertEqual(self.slices(), [3, 6, 9])
