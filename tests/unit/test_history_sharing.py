"""What many read at once: one read for all, kept for a moment, in turns."""

from __future__ import annotations

from itertools import pairwise
from sys import getsizeof
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from chatd.brokers.interfaces import Stream, Unavailable
from chatd.rooms.blocks import CACHE_BYTES, CACHE_OUTLINES, CACHE_SECONDS, READERS, SLICE
from chatd.rooms.history import PATIENCE
from chatd.rooms.outline import BLOCK, Outline
from chatd.rooms.read_queue import READS
from chatd.rooms.records import message_of
from tests.support.history import HistoryCase


class SharingTests(HistoryCase):
    def test_many_who_read_the_same_cost_one_read(self) -> None:
        self.fill(600)
        outcomes = [
            self.world.begin(self.history.page(self.stream, 299, 599, 0)) for _ in range(200)
        ]
        self.world.turn()
        self.assertEqual({len(outcome[0].messages) for outcome in outcomes}, {128})
        self.assertEqual(self.reads, 2)  # the block, and the one before
        self.world.do(self.history.page(self.stream, 300, 599, 0))
        self.assertEqual(self.reads, 2)

    def test_a_block_is_kept_for_a_moment_only(self) -> None:
        self.fill(600)
        self.page(10)
        self.world.advance(CACHE_SECONDS + 1)
        before = self.reads
        self.page(10)
        self.assertEqual(self.reads, before + 1)

    def test_the_newest_block_is_read_again_once_it_has_grown(self) -> None:
        self.fill(5)
        self.assertEqual(len(self.page(-1).messages), 5)
        self.fill(5, start=5)
        self.assertEqual(len(self.page(-1).messages), 10)

    def test_few_reads_at_a_time(self) -> None:
        self.fill(10 * BLOCK)
        asked: list[Deferred[Any]] = []

        def never(stream: Stream, start: int, stop: int) -> Deferred[Any]:
            asked.append(Deferred())
            return asked[-1]

        self.patch(self.world.broker, "read", never)
        for n in range(10):
            self.world.begin(self.history.page(self.stream, n * BLOCK, 10 * BLOCK - 1, 0))
        self.world.turn()
        self.assertEqual(len(asked), READS)
        asked[0].errback(Unavailable("away"))
        self.assertEqual(len(asked), READS + 1)

    def test_the_cache_is_bounded(self) -> None:
        text = "x" * 8000
        self.world.store("lobby", *(f"{n}{text}" for n in range(2600)))
        self.everything()
        blocks = self.history._blocks
        self.assertEqual(blocks._size, sum(one.size for one in blocks._pieces.values()))
        self.assertLessEqual(blocks._size, CACHE_BYTES)
        self.assertGreater(blocks._size, CACHE_BYTES // 2)

    def test_the_outlines_kept_are_bounded(self) -> None:
        blocks = self.history._blocks
        for index in range(CACHE_OUTLINES + 10):
            blocks._keep_outline((self.stream, index), Outline(index))
        self.assertEqual(len(blocks._outlines), CACHE_OUTLINES)

    def test_an_outline_is_small(self) -> None:
        """8 KB for a block of the largest messages: some 32 bytes each."""
        self.fill(BLOCK)
        self.page(-1)
        outline = self.history._blocks._outlines[self.stream, 0]
        held = [value for name in outline.__slots__ if (value := getattr(outline, name, None))]
        self.assertLessEqual(sum(map(getsizeof, held)), 9 * 1024)


class TurnTests(HistoryCase):
    """Whose turn it is."""

    def test_a_long_read_is_parsed_in_slices(self) -> None:
        """Between them everyone else is served."""
        self.fill(4 * SLICE)
        sliced = mock.Mock(wraps=message_of)
        with mock.patch("chatd.rooms.blocks.message_of", sliced):
            parsed: list[int] = []

            def others() -> None:
                parsed.append(sliced.call_count)
                if not outcome:
                    self.world.clock.callLater(0, others)

            page = self.history.page(self.stream, -1, self.upto, 0, limit=4 * SLICE)
            outcome = self.world.begin(page)
            others()
            self.world.turn()
        steps = [after - before for before, after in pairwise([0, *parsed])]
        self.assertLessEqual(max(steps), SLICE)
        self.assertEqual(sliced.call_count, 4 * SLICE)

    def test_who_waited_for_the_same_read_goes_on_in_turns(self) -> None:
        """Not all together, however many they are; and what one found out holds for all."""
        self.fill(4 * BLOCK)
        asked = [self.history.page(self.stream, -1, self.upto, 0) for _ in range(40)]
        judged = mock.Mock(wraps=Outline.judge)
        self.patch(Outline, "judge", lambda *args: judged(*args))
        outcomes = [self.world.begin(page) for page in asked]
        done: list[int] = []

        def others() -> None:
            done.append(sum(map(len, outcomes)))
            if done[-1] < len(outcomes):
                self.world.clock.callLater(0, others)

        others()
        self.world.turn()
        self.assertLessEqual(max(after - before for before, after in pairwise(done)), READERS + 1)
        self.assertEqual({len(outcome[0].messages) for outcome in outcomes}, {128})
        self.assertEqual(judged.call_count, 1)

    def test_a_question_that_takes_too_long(self) -> None:
        self.patch(self.world.broker, "read", lambda *_: Deferred())
        for work in (
            self.history.page(self.stream, -1, 9, 0),
            self.history.before_last(self.stream, 1, 9, 0),
        ):
            asked = self.world.begin(work)
            self.world.advance(PATIENCE)
            asked[0].trap(Unavailable)

    def test_who_asks_for_much_delays_nobody_else(self) -> None:
        self.fill(30 * BLOCK)
        for n in range(20):
            self.world.begin(self.history.page(self.stream, n * BLOCK, 30 * BLOCK, 0, asker="many"))
        read, reading = self.world.broker.read, []

        def noting(stream: Stream, start: int, stop: int) -> Any:
            reading.append(start // BLOCK)
            return read(stream, start, stop)

        self.patch(self.world.broker, "read", noting)
        page = self.history.page(self.stream, -1, 9, 0, asker="one")
        self.world.do(page)
        self.assertLess(reading.index(0), 2 * READS)
