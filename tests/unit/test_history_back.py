"""Looking back, from the newest messages to earlier ones."""

from __future__ import annotations

from chatd.brokers.interfaces import Retention
from chatd.rooms.blocks import CACHE_SECONDS
from chatd.rooms.history import Earlier
from chatd.rooms.outline import BLOCK
from chatd.service.reading import LookedBack
from tests.support.history import HistoryCase


class LookingBackTests(HistoryCase):
    def test_backwards_page_by_page(self) -> None:
        for skip in (0, 3, BLOCK):
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

    def test_looking_back_to_a_block_that_was_known_before_it_was_removed(self) -> None:
        self.fill(2 * BLOCK)
        self.page(5, limit=1)  # now the first block is kept here, and the next is not
        first = BLOCK + 20
        self.world.broker.truncate(self.stream, first)
        looking = self.history.earlier(self.stream, first + 10, self.upto, 0, 100, 1 << 20)
        self.assertEqual(
            self.world.do(looking), Earlier(first - 1, first + 9, 10, more=False, gap=False)
        )

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
        oldest = self.world.now - 100_000
        looking = self.history.earlier(self.stream, 2, self.upto, oldest, 10, 1 << 20)
        self.assertEqual(self.world.do(looking), Earlier(-1, 0, 1, more=False, gap=True))
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
