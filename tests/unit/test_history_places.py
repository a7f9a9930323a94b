"""Where in a stream to begin: so many from its end, or at a time. No message is read to find it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from chatd.brokers.interfaces import Retention, Unavailable
from chatd.protocol.messages import Content
from chatd.rooms.blocks import CACHE_SECONDS
from chatd.rooms.history import PAGE_OFFSETS, PATIENCE
from chatd.rooms.outline import BLOCK
from tests.support.history import HistoryCase


class PlaceTests(HistoryCase):
    """The last so many, and what is since a time."""

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

    def test_the_last_after_what_has_expired_and_is_still_stored(self) -> None:
        """It lies right before them, and is no gap: nobody asked for it."""
        self.make(retention=Retention(age=100))
        oldest = self.world.now - 100_000
        self.world.broker.store(
            self.stream, Content("ann", "old", "x").record(oldest - 1), self.world.now
        )
        self.fill(3)
        after = self.world.do(self.history.before_last(self.stream, 10, self.upto, oldest))
        page = self.page(after)
        self.assertEqual((self.texts(page), page.gap), (["m0", "m1", "m2"], False))
        page = self.page(after - 1)
        self.assertTrue(page.gap)

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

    def test_a_broker_that_finds_the_time_and_reads_nothing(self) -> None:
        self.fill(3)
        asked = [
            self.history.before_time(self.stream, 0, self.upto, 0),
            self.history.before_oldest(self.stream, self.upto, 0),
        ]
        with mock.patch.object(self.world.broker, "read", return_value=Deferred()):
            outcomes = [self.world.begin(work) for work in asked]
            self.world.advance(PATIENCE)
        for [failure] in outcomes:
            self.assertIsInstance(failure.value, Unavailable)


class CostTests(HistoryCase):
    """Places are found without reading messages."""

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

    def test_the_first_of_the_last_removed_since_it_was_known(self) -> None:
        self.fill(20)
        self.last(1)
        self.world.broker.truncate(self.stream, 11)
        self.world.advance(CACHE_SECONDS + 1)
        self.assertEqual(self.last(10), 10)

    def test_removed_since_it_was_known_though_the_block_before_is_kept_here(self) -> None:
        self.fill(2 * BLOCK)
        self.last(2 * BLOCK)
        self.world.advance(CACHE_SECONDS + 1)
        self.page(BLOCK - 10, limit=1)
        self.world.broker.truncate(self.stream, BLOCK + 20)
        self.assertEqual(self.last(BLOCK), BLOCK + 19)

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
