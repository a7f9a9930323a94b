"""Reading the past: pages, gaps, expiry, repetitions; shared, bounded and cached for a moment."""

from __future__ import annotations

from collections.abc import Coroutine
from itertools import pairwise
from sys import getsizeof
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatd.brokers.interfaces import NoSuchStream, Retention, Stream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import WINDOW, Content, Message, read_message
from chatd.rooms.blocks import CACHE_BYTES, CACHE_OUTLINES, CACHE_SECONDS
from chatd.rooms.dating import Dates, Dating
from chatd.rooms.history import PAGE_BYTES, PAGE_OFFSETS, PATIENCE, History, HistoryPage
from chatd.rooms.outline import BLOCK, Outline, Parsed
from chatd.rooms.read_queue import READS, SLICE
from chatd.rooms.records import message_of
from chatd.service.reading import LookedBack
from chatd.timing.wall import WallClock
from tests.support.world import World


class ArchiveTests(TestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, **more: Any) -> None:
        self.world = World(**more)
        self.history = self.world.sites[0].history
        self.stream = self.world.stream()
        self.reads = self.offsets_read = 0
        read = self.world.broker.read

        def counting(stream: Stream, start: int, stop: int) -> Any:
            self.reads += 1
            self.offsets_read += stop - start
            return read(stream, start, stop)

        self.patch(self.world.broker, "read", counting)

    def fill(self, count: int, start: int = 0) -> None:
        self.world.store("lobby", *(f"m{n}" for n in range(start, start + count)))

    @property
    def upto(self) -> int:
        return self.world.do(self.world.broker.end(self.stream))

    def page(self, after: int, upto: int | None = None, limit: int = 128) -> HistoryPage:
        oldest = self.world.now - self.world.retention.age * 1000
        upto = self.upto if upto is None else upto
        return self.world.do(self.history.page(self.stream, after, upto, oldest, limit))

    def texts(self, page: HistoryPage) -> list[str]:
        return [m.text for m in page.messages]

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

    def everything(self, after: int = -1, limit: int = 128) -> list[str]:
        """All texts, page by page, GAP where one is told."""
        texts: list[str] = []
        upto = self.upto
        while after < upto:
            page = self.page(after, limit=limit)
            assert page.end > after, "no progress"
            texts += ["GAP"] * page.gap + self.texts(page)
            after = page.end
        return texts

    # -- pages

    def test_pages_follow_one_another(self) -> None:
        self.fill(3 * BLOCK + 7)
        for limit in (1000, 128, 100, 1):
            self.assertEqual(
                self.everything(limit=limit), [f"m{n}" for n in range(3 * BLOCK + 7)], limit
            )

    def test_an_empty_stream(self) -> None:
        self.assertEqual(self.page(-1), HistoryPage([], -1, gap=False))

    def test_nothing_beyond_the_head_it_is_told(self) -> None:
        self.fill(20)
        page = self.page(4, upto=9)
        self.assertEqual(self.texts(page), ["m5", "m6", "m7", "m8", "m9"])
        self.assertEqual(page.end, 9)

    def test_a_page_is_bounded_in_bytes(self) -> None:
        self.world.store("lobby", *(str(n) + "x" * 10_000 for n in range(20)))
        page = self.page(-1)
        size = sum(len(m.json) for m in page.messages)
        self.assertTrue(PAGE_BYTES <= size < PAGE_BYTES + 11_000, size)
        self.assertEqual(page.end, page.messages[-1].offset)

    def test_offsets_that_skip_are_no_gap(self) -> None:
        self.make(skip=3)
        self.fill(2 * BLOCK)
        self.assertGreater(self.upto, 2 * BLOCK)
        for after in range(-1, 40):
            self.assertFalse(self.page(after).gap, after)
        self.assertEqual(self.everything(), [f"m{n}" for n in range(2 * BLOCK)])

    def test_after_the_oldest_kept_is_no_gap_where_offsets_skip(self) -> None:
        """At the edges of blocks above all, where a block does not begin at its first offset."""
        for skip in (2, 3, 5):
            self.make(skip=skip)
            self.fill(2 * BLOCK)
            there = [
                r.offset for r in self.world.do(self.world.broker.read(self.stream, 0, self.upto))
            ]
            edge = next(n for n, offset in enumerate(there) if offset >= BLOCK)
            for n in range(edge - 2, edge + 2):
                self.world.broker.truncate(self.stream, there[n])
                self.world.advance(CACHE_SECONDS + 1)
                page = self.page(there[n], limit=1)
                self.assertEqual((self.texts(page), page.gap), ([f"m{n + 1}"], False), (skip, n))
                self.assertTrue(self.page(there[n - 1] - 1, limit=1).gap, (skip, n))

    # -- what is gone

    def test_truncated_before_the_cursor_is_no_gap(self) -> None:
        self.fill(2 * BLOCK)
        self.world.broker.truncate(self.stream, BLOCK + 10)
        page = self.page(BLOCK + 9, limit=2)
        self.assertEqual(
            (self.texts(page), page.gap), ([f"m{BLOCK + 10}", f"m{BLOCK + 11}"], False)
        )

    def test_truncated_beyond_the_cursor_is_a_gap(self) -> None:
        self.fill(4 * BLOCK)
        self.world.broker.truncate(self.stream, 3 * BLOCK + 10)
        for after in (-1, 5, BLOCK, 3 * BLOCK - 1, 3 * BLOCK + 8):
            page = self.page(after, limit=1)
            self.assertEqual((self.texts(page), page.gap), ([f"m{3 * BLOCK + 10}"], True), after)

    def test_truncated_between_a_block_that_is_kept_here_and_the_next(self) -> None:
        self.fill(4 * BLOCK)
        self.page(BLOCK - 10, limit=1)  # now the first block is kept here, and the next are not
        self.world.advance(CACHE_SECONDS / 2)
        self.world.broker.truncate(self.stream, 3 * BLOCK + 10)
        page = self.page(BLOCK - 10)
        self.assertEqual(self.texts(page), [f"m{n}" for n in range(BLOCK - 9, BLOCK)])
        self.assertFalse(page.gap)
        page = self.page(page.end, limit=1)
        self.assertEqual((self.texts(page), page.gap), ([f"m{3 * BLOCK + 10}"], True))

    def test_everything_gone(self) -> None:
        self.fill(300)
        self.world.broker.truncate(self.stream, 300)
        self.assertEqual(self.page(10), HistoryPage([], 299, gap=True))
        self.assertEqual(self.page(299), HistoryPage([], 299, gap=False))

    def test_a_broken_record_at_the_start_is_no_gap(self) -> None:
        self.world.foreign("lobby", b"junk", b"[]")
        self.fill(3)
        page = self.page(-1)
        self.assertEqual((self.texts(page), page.gap), (["m0", "m1", "m2"], False))

    def test_whole_blocks_of_foreign_records_are_passed_over(self) -> None:
        self.fill(1)
        self.world.foreign("lobby", *[b"junk"] * (2 * BLOCK))
        self.fill(1, start=1)
        self.assertEqual(self.everything(), ["m0", "m1"])

    def test_expired_messages_that_are_still_stored_are_not_served(self) -> None:
        self.make(retention=Retention(age=100))
        old = self.world.now - 150_000
        self.world.store("lobby", "kept", time=self.world.now)
        # out of order, so that the broker, which trims from the start, still has them
        self.world.store("lobby", "expired", time=old)
        self.world.store("lobby", "new", time=self.world.now)
        first = self.page(-1)
        self.assertEqual((self.texts(first), first.end, first.gap), (["kept"], 0, False))
        then = self.page(first.end)
        self.assertEqual((self.texts(then), then.end, then.gap), (["new"], 2, True))

    def test_expired_since_it_was_cached(self) -> None:
        self.make(retention=Retention(age=100))
        self.fill(2)
        self.world.advance(98)
        self.fill(2, start=2)
        self.assertEqual(self.texts(self.page(-1)), ["m0", "m1", "m2", "m3"])
        self.world.advance(3)
        page = self.page(-1)
        self.assertEqual((self.texts(page), page.gap), (["m2", "m3"], True))
        self.assertEqual(self.reads, 1)

    # -- repetitions

    def test_a_repetition_within_the_window_is_dropped(self) -> None:
        for skip in (0, 1, 5):
            self.make(skip=skip)
            for distance in (1, 2, BLOCK, WINDOW - 1, WINDOW, WINDOW + 1):
                first = f"first{distance}"
                self.world.store("lobby", first)
                self.world.store("lobby", *(f"{distance}.{n}" for n in range(distance - 1)))
                self.world.store("lobby", first)
                texts = self.everything()
                expected = 1 if distance <= WINDOW else 2
                self.assertEqual(texts.count(first), expected, (skip, distance))

    def test_a_repetition_of_what_has_expired_is_none(self) -> None:
        self.make(retention=Retention(age=100))
        for text, again in (("a", 100_000), ("b", 100_001)):
            for time in (self.world.now, self.world.now + again):
                self.world.store("lobby", text, time=time)
        page = self.world.do(self.history.page(self.stream, -1, self.upto, 0))
        self.assertEqual(self.texts(page), ["a", "b", "b"])

    def test_judged_alike_from_wherever_reading_begins(self) -> None:
        self.make(skip=2)
        for n in range(0, 2400, 6):
            self.world.store("lobby", *(f"m{i}" for i in range(n, n + 6)))
            self.world.store("lobby", f"m{max(0, n - 700)}")
            self.world.foreign("lobby", b"junk")
        everything = self.world.do(self._all(-1))
        for after in (0, 100, 1500, 2222, 3000):
            self.world.advance(CACHE_SECONDS + 1)
            expected = [o for o in everything if o > after]
            self.assertEqual(self.world.do(self._all(after)), expected, after)

    async def _all(self, after: int) -> list[int]:
        found: list[int] = []
        upto = await self.world.broker.end(self.stream)
        while after < upto:
            page = await self.history.page(self.stream, after, upto, 0)
            found += [m.offset for m in page.messages]
            after = page.end
        return found

    # -- where to start

    def last(self, n: int) -> int:
        return self.world.do(self.history.before_last(self.stream, n, self.upto, 0))

    def test_before_the_last_so_many(self) -> None:
        self.fill(3 * BLOCK)
        end = 3 * BLOCK - 1
        for n in (1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3):
            self.assertEqual(self.last(n), end - n, n)
        self.assertEqual(self.last(3 * BLOCK), -1)
        self.assertEqual(self.last(1000), -1)
        self.world.broker.truncate(self.stream, BLOCK + 5)
        self.world.advance(CACHE_SECONDS + 1)
        self.assertEqual(self.last(1000), BLOCK + 4)

    def test_the_last_where_offsets_skip(self) -> None:
        self.make(skip=3)
        count = 3 * BLOCK
        self.fill(count)
        for n in (1, BLOCK, BLOCK + 70, 2 * BLOCK + 10):
            page = self.page(self.last(n), limit=1)
            self.assertEqual((self.texts(page), page.gap), ([f"m{count - n}"], False), n)

    def test_the_last_before_a_head_that_was_known_to_be_further_on(self) -> None:
        """As when what is asked for one reader was read for another."""
        self.fill(10)
        self.page(-1)
        for upto in (8, 5, 0):
            self.assertEqual(
                self.world.do(self.history.before_last(self.stream, 1, upto, 0)), upto - 1
            )

    def test_the_last_of_a_stream_with_repetitions(self) -> None:
        self.fill(10)
        self.fill(10)
        self.fill(3, start=10)
        self.assertEqual(self.last(4), 8)

    # -- looking back

    def earlier(self, before: int, limit: int = 100, size: int = 1 << 20) -> LookedBack:
        """What is before an offset, and the messages there."""
        oldest = self.world.now - self.world.retention.age * 1000
        found = self.world.do(
            self.history.earlier(self.stream, before, self.upto, oldest, limit, size)
        )
        messages: list[Message] = []
        at = found.after
        while len(messages) < found.count:
            page = self.page(at, found.upto, found.count - len(messages))
            messages += page.messages
            at = page.end
        return LookedBack(messages, found.more, found.gap, None)

    def back(self, before: int, limit: int) -> list[str]:
        """All texts before an offset, read backwards page by page."""
        texts: list[str] = []
        while True:
            found = self.earlier(before, limit)
            self.assertFalse(found.gap)
            texts = [m.text for m in found.messages] + texts
            if not found.more:
                return texts
            self.assertEqual(len(found.messages), limit)
            before = found.messages[0].offset

    def test_backwards_page_by_page(self) -> None:
        for skip in (0, 3):
            self.make(skip=skip)
            self.fill(2 * BLOCK + 7)
            for limit in (1000, 100, BLOCK, 7):
                expected = [f"m{n}" for n in range(2 * BLOCK + 7)]
                self.assertEqual(self.back(self.upto + 1, limit), expected, (skip, limit))

    def test_looking_back_reads_each_block_once(self) -> None:
        self.fill(20 * BLOCK)
        self.back(20 * BLOCK, 100)
        self.assertLessEqual(self.reads, 20)

    def test_scrolling_back_at_leisure_costs_what_it_shows(self) -> None:
        """However long somebody reads each page: each block once for its messages, once for its
        keys, and once more where a page begins in the middle of it."""
        self.fill(20 * BLOCK)
        before = 20 * BLOCK
        while (found := self.earlier(before, BLOCK)).more:
            before = found.messages[0].offset
            self.world.advance(CACHE_SECONDS + 1)
        self.assertLessEqual(self.offsets_read, 3 * 20 * BLOCK)

    def test_looking_back_shows_what_reading_on_shows(self) -> None:
        for n in range(0, 1200, 6):
            self.world.store("lobby", *(f"m{i}" for i in range(n, n + 6)))
            self.world.store("lobby", f"m{max(0, n - 700)}")
            self.world.foreign("lobby", b"junk")
        self.assertEqual(self.back(self.upto + 1, 50), self.everything())

    def test_looking_back_to_where_retention_has_removed(self) -> None:
        self.fill(3 * BLOCK)
        first = BLOCK + 10
        self.world.broker.truncate(self.stream, first)
        self.assertEqual(self.earlier(first + 2).gap, False)
        self.assertEqual([m.text for m in self.earlier(first + 2).messages], ["m266", "m267"])
        for before in (first, first - 1, BLOCK, 5, 1):
            self.assertEqual(self.earlier(before), LookedBack([], False, True, None), before)
        self.assertEqual(self.earlier(0), LookedBack([], False, False, None))

    def test_looking_back_over_what_has_expired(self) -> None:
        self.make(retention=Retention(age=100))
        self.world.store("lobby", "kept", time=self.world.now)
        self.world.store("lobby", "expired", time=self.world.now - 150_000)
        self.world.store("lobby", "new", time=self.world.now)
        for limit in (1, 10):
            newer = self.earlier(3, limit)
            self.assertEqual(([m.text for m in newer.messages], newer.more), (["new"], True))
            self.assertFalse(newer.gap)
            older = self.earlier(2, limit)
            self.assertEqual(([m.text for m in older.messages], older.more), (["kept"], False))
            self.assertTrue(older.gap)
        self.world.advance(90)
        self.world.store("lobby", "newest", time=self.world.now)
        self.world.advance(20)
        self.assertEqual(self.back(4, 10), ["newest"])
        self.assertEqual(self.earlier(3), LookedBack([], False, True, None))

    def test_looking_back_is_bounded_in_bytes(self) -> None:
        self.world.store("lobby", *(str(n) + "x" * 10_000 for n in range(20)))
        found = self.earlier(20, size=50_000)
        self.assertTrue(found.more)
        self.assertEqual([m.offset for m in found.messages], [15, 16, 17, 18, 19])

    def test_nothing_before_it(self) -> None:
        """A gap only if there was something."""
        self.world.foreign("lobby", b"junk", b"junk", b"junk")
        self.fill(3)
        found = self.earlier(3)
        self.assertEqual((found.messages, found.more, found.gap), ([], False, False))
        for removed in (1, 2, 3):
            self.world.broker.truncate(self.stream, removed)
            self.world.advance(CACHE_SECONDS + 1)
            self.assertTrue(self.earlier(removed).gap, removed)

    def test_before_a_time_where_times_do_not_ascend(self) -> None:
        """What was stored at or after a time counts if its own time is, too: records whose times
        lie before it are passed over, through blocks of them."""
        start, upto = self.world.now, 2 * BLOCK + 9
        broker = self.world.broker
        early = Content("ann", "early", "x").record(start + 20_000)
        broker.store(self.stream, early, start)
        for n in range(1, upto + 1):
            claim = start + (10_000 if n in (BLOCK + 3, upto) else 1)
            broker.store(self.stream, Content("ann", str(n), "x").record(claim), start + 10_000)
        self.world.turn()
        before = self.history.before_time(self.stream, start + 5000, upto, 0)
        self.assertEqual(self.world.do(before), BLOCK + 2)

    def test_before_a_time(self) -> None:
        start = self.world.now
        for n in range(600):
            self.world.clock.advance(1)
            self.world.store("lobby", f"m{n}")
        upto = self.upto

        def since(seconds: float) -> int:
            time = int(start + seconds * 1000)
            return self.world.do(self.history.before_time(self.stream, time, upto, 0))

        self.assertEqual(since(-5), -1)
        self.assertEqual(since(1), -1)
        self.assertEqual(since(1.001), 0)
        self.assertEqual(since(300), 298)
        self.assertEqual(since(600), 598)
        self.assertEqual(since(600.001), 599)

    def test_since_before_the_retention_begins_at_the_oldest_kept(self) -> None:
        self.make(retention=Retention(age=100))
        self.world.store("lobby", "early", time=self.world.now + 50_000)
        self.world.store("lobby", "late", time=self.world.now)
        self.world.store("lobby", "new", time=self.world.now + 60_000)
        self.world.advance(101)
        oldest = self.world.now - 100_000
        after = self.world.do(self.history.before_time(self.stream, 0, 2, oldest))
        page = self.page(after)
        self.assertEqual((self.texts(page), page.gap), (["early"], False))
        page = self.page(page.end)
        self.assertEqual((self.texts(page), page.gap), (["new"], True))

    # -- sharing

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

    # -- positions are found without reading messages

    def store_large(self, count: int) -> None:
        """So many messages of 16 KiB."""
        self.world.store("lobby", *(f"{n}.{'x' * 16_000}" for n in range(count)))

    def cost(self, work: Coroutine[Any, Any, Any]) -> int:
        """The offsets that are read for ``work`` when no message is cached any more."""
        self.world.advance(CACHE_SECONDS + 1)
        before = self.offsets_read
        self.world.do(work)
        return self.offsets_read - before

    def test_where_to_start_is_found_without_reading_messages(self) -> None:
        self.store_large(1500)
        upto, history, stream = self.upto, self.history, self.stream
        time = self.world.now
        self.last(1000)  # the stream is known from now on
        piece = 4
        for work in (
            history.before_last(stream, 1000, upto, 0),
            history.before_last(stream, 1, upto, 0),
            history.before_time(stream, time, upto, 0),
            history.before_oldest(stream, upto, 0),
            history.earlier(stream, 1400, upto, 0, 1000, 1 << 30),
            history.page(stream, 700, upto, 0, limit=1),
        ):
            self.assertLessEqual(self.cost(work), piece)

    def test_what_has_come_since_is_all_that_is_read(self) -> None:
        self.store_large(600)
        self.last(300)
        self.fill(2, start=600)
        self.assertLessEqual(self.cost(self.history.before_last(self.stream, 1, self.upto, 0)), 8)
        self.assertEqual(self.last(300), 301)

    def test_a_page_reads_what_it_shows(self) -> None:
        self.store_large(BLOCK)
        self.last(10)
        self.assertLessEqual(self.cost(self.history.page(self.stream, 99, BLOCK - 1, 0)), 8)

    def test_removed_between_what_is_known_and_what_came(self) -> None:
        self.fill(10)
        self.last(1)
        self.fill(10, start=10)
        self.world.broker.truncate(self.stream, 15)
        self.world.advance(CACHE_SECONDS + 1)
        page = self.page(4)
        self.assertEqual((self.texts(page), page.gap), ([f"m{n}" for n in range(15, 20)], True))
        self.assertEqual(self.last(10), 14)

    def test_removed_since_it_was_known(self) -> None:
        self.fill(20)
        self.last(1)
        self.world.broker.truncate(self.stream, 15)
        self.world.advance(CACHE_SECONDS + 1)
        self.assertEqual(self.last(10), 14)
        page = self.page(4, limit=1)
        self.assertEqual((self.texts(page), page.gap), (["m15"], True))
        found = self.earlier(18, limit=3)
        self.assertEqual(
            ([m.text for m in found.messages], found.more), (["m15", "m16", "m17"], False)
        )

    def test_a_broker_with_other_records_than_it_had(self) -> None:
        """As after the death of a leader that had confirmed what no replica holds."""
        self.fill(20)
        self.last(5)
        log = self.world.broker._world._logs[self.stream.name]
        del log.entries[10:]
        log.last = 9
        self.fill(10, start=50)
        self.world.advance(CACHE_SECONDS + 1)
        self.assertEqual(self.everything(), [f"m{n}" for n in (*range(10), *range(50, 60))])
        self.fill(2, start=60)
        self.assertEqual(self.texts(self.page(17)), ["m58", "m59", "m60", "m61"])

    def test_a_page_does_not_look_through_everything(self) -> None:
        self.fill(1)
        self.world.foreign("lobby", *[b"junk"] * (PAGE_OFFSETS + 2 * BLOCK))
        page = self.page(0)
        self.assertEqual((page.messages, page.gap), ([], False))
        self.assertLess(page.end, self.upto)
        self.assertEqual(self.everything(), ["m0"])

    # -- whose turn it is

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

    # -- failure

    def test_a_broker_that_is_away(self) -> None:
        self.fill(10)
        self.world.broker.interrupt()
        with self.assertRaises(Unavailable):
            self.world.do(self.history.page(self.stream, -1, 9, 0))
        self.world.broker.resume()
        self.assertEqual(len(self.page(-1).messages), 10)

    def test_a_stream_that_is_not_there(self) -> None:
        with self.assertRaises(NoSuchStream):
            self.world.do(self.history.page(Stream("lobby", "other"), -1, 9, 0))

    def test_a_history_of_its_own_needs_nothing_else(self) -> None:
        self.fill(3)
        other = History(self.world.broker, self.world.clock)
        page = self.world.do(other.page(self.stream, 0, 2, 0))
        self.assertEqual(self.texts(page), ["m1", "m2"])


class OutlineTests(SynchronousTestCase):
    """What is known of a block without its messages: of the second one here."""

    def record(self, place: int, id: str = "", time: int = 0) -> Parsed:
        """The record of a message in the block; ids are the places but for what is given."""
        offset = BLOCK + place
        body = Content("ann", id or str(place), "x").record(self.now + time)
        message = read_message("lobby", Cursor("e", offset), body)
        return offset, message, len(message.json)

    def junk(self, place: int) -> Parsed:
        return BLOCK + place, None, 4

    def setUp(self) -> None:
        self.clock = Clock()
        self.now = 1_800_000_000_000
        self.clock.advance(self.now // 1000)
        self.dating = Dating(WallClock(self.clock), Retention(age=100))
        self.outline = Outline(1)

    def judge(self) -> None:
        self.outline.judge((), self.dating, Dates(self.now, 100_000))

    def test_what_continues_it(self) -> None:
        outline = self.outline
        self.assertTrue(outline.continues([], BLOCK))
        self.assertTrue(outline.continues([self.record(3)], BLOCK))
        outline.extend([self.record(0), self.junk(1), self.record(2)], BLOCK + 2)
        start = BLOCK + 2
        self.assertTrue(outline.continues([self.record(2), self.record(3)], start))
        for other in (
            [],
            [self.record(3)],
            [self.record(2, "other"), self.record(3)],
            [self.junk(2), self.record(3)],
            [self.record(0), self.record(2)],
        ):
            self.assertFalse(outline.continues(other, start), other)

    def test_what_it_knows_of(self) -> None:
        outline = self.outline
        outline.extend([self.record(0), self.junk(1), self.record(5)], BLOCK + 9)
        self.assertTrue(outline.fits([]))
        self.assertTrue(outline.fits([self.record(0), self.junk(1), self.record(5)]))
        for other in (
            self.record(0, "other"),
            self.junk(0),
            self.record(1),
            self.record(2),
            self.record(2, "5"),
            self.record(6),
            self.record(6, "5"),
            self.junk(200),
        ):
            self.assertFalse(outline.fits([self.record(0), other]), other)

    def test_it_grows_by_what_is_new(self) -> None:
        outline = self.outline
        self.assertEqual((len(outline), outline.known, outline.whole), (0, BLOCK - 1, False))
        outline.extend([self.record(0), self.record(3)], BLOCK + 3)
        outline.extend([self.record(3), self.record(4)], BLOCK + 8)
        self.assertEqual([outline.offset(i) - BLOCK for i in range(len(outline))], [0, 3, 4])
        self.assertEqual(outline.known, BLOCK + 8)
        outline.extend([self.record(4), self.record(255)], 2 * BLOCK - 1)
        self.assertEqual((len(outline), outline.whole), (4, True))

    def test_what_is_found_where(self) -> None:
        outline = self.outline
        outline.extend([self.record(1), self.record(4)], BLOCK + 9)
        at = [outline.at(BLOCK + place) for place in (-200, 0, 1, 2, 4, 5, 100)]
        self.assertEqual(at, [0, 0, 0, 1, 1, 2, 2])

    def test_what_is_visible(self) -> None:
        """Nothing that has expired, up to the millisecond, and no repetition; but what has no time
        of its own."""
        outline = self.outline
        undated = BLOCK + 4, self.undated(BLOCK + 4), 50
        records = [self.record(0), self.record(1, time=1), self.record(2, "0"), self.junk(3)]
        outline.extend([*records, undated, self.record(5, time=2)], BLOCK + 5)
        self.assertFalse(outline.judged)
        self.judge()
        self.assertTrue(outline.judged)
        everything = 2 * BLOCK
        for oldest, places in ((0, [0, 1, 4, 5]), (1, [1, 4, 5]), (2, [4, 5]), (3, [4])):
            visible = outline.visible(self.now + oldest, everything)
            self.assertEqual(list(visible), places, oldest)
        self.assertEqual(list(outline.shown(BLOCK + 4)), [0, 1])
        self.assertEqual(list(outline.visible(self.now + 1, BLOCK + 5)), [1, 4])
        self.assertIsNone(outline.message(records[2]))
        self.assertIsNone(outline.message(records[3]))
        self.assertIs(outline.message(records[1]), records[1][1])

    def undated(self, offset: int) -> Message:
        body = b'{"id":"undated","user":"ann","text":"x"}'
        return read_message("lobby", Cursor("e", offset), body)
