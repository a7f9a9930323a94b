"""Reading the past page by page: gaps, expiry, repetitions."""

from __future__ import annotations

from chatd.brokers.interfaces import NoSuchStream, Retention, Stream, Unavailable
from chatd.protocol.messages import WINDOW
from chatd.rooms.blocks import CACHE_SECONDS
from chatd.rooms.history import PAGE_BYTES, History, HistoryPage
from chatd.rooms.outline import BLOCK
from tests.support.history import HistoryCase


class ArchiveTests(HistoryCase):
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
        for skip in (2, 3, 5, BLOCK):
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

    def test_truncated_up_to_the_last_of_a_block(self) -> None:
        self.fill(3 * BLOCK)
        self.world.broker.truncate(self.stream, 2 * BLOCK - 1)
        page = self.page(5, limit=2)
        self.assertEqual(
            (self.texts(page), page.gap), ([f"m{2 * BLOCK - 1}", f"m{2 * BLOCK}"], True)
        )

    def test_what_follows_a_gap_is_in_its_page_though_others_wrote_between(self) -> None:
        self.fill(10)
        self.world.foreign("lobby", *[b"junk"] * BLOCK)
        self.fill(1, start=10)
        self.world.broker.truncate(self.stream, 10)
        page = self.page(0)
        self.assertEqual((self.texts(page), page.gap), (["m10"], True))

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
