"""Records in a file: passed to followers page by page, and cleared up."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Record, Retention, Stream, Unavailable
from chatd.brokers.sqlite import following as sqlite_following
from chatd.brokers.sqlite import reader as sqlite_reader
from chatd.brokers.sqlite import writer as sqlite_store
from chatd.brokers.sqlite.following import SQLiteFollowing
from chatd.brokers.sqlite.reader import PAGE_RECORDS, RecordPage
from chatd.brokers.sqlite.schema import connect
from tests.support.recording import Recorder, ids, named, now
from tests.support.sqlite import FilledTests
from tests.support.waiting import until


class PageTests(FilledTests):
    async def test_pages_and_what_is_committed_meanwhile_meet(self) -> None:
        self.patch(sqlite_reader, "PAGE_RECORDS", 7)
        self.patch(sqlite_following, "PAGE_RECORDS", 3)
        await self.filled(100)
        followers = []
        for n in range(100, 300, 10):
            appended = [self.append(f"m{k}") for k in range(n, n + 10)]
            follower = Recorder()
            follower.following = self.broker.follow(self.stream, None, follower)
            follower.may_call = True
            followers.append(follower)
            await appended[n % 3]
        await until(lambda: all(len(f.got) >= 300 for f in followers))
        for follower in followers:
            self.assertEqual(follower.ids, named(*range(300)))
            self.assertEqual(follower.calls.count("caught_up"), 1)

    async def test_bodies_are_any_bytes(self) -> None:
        await self.filled(0)
        bodies = [b"", b"\x00", b"a\x00b", bytes(range(256)), b"", b"\xff\xfe", "ü".encode()[:1]]
        for raw in bodies:
            await self.broker.append(self.stream, raw, "id", now())
        for first in range(len(bodies)):
            read = await self.broker.read(self.stream, first, 100)
            self.assertEqual([record.body for record in read], bodies[first:])

    async def test_pages_are_bounded_in_bytes(self) -> None:
        self.patch(sqlite_reader, "PAGE_BYTES", 5000)
        await self.filled(0)
        await self.fill(0, 20, "x" * 2000)
        batches: list[int] = []

        class Batches(Recorder):
            def records(self, batch: Any) -> None:
                batches.append(len(batch))
                super().records(batch)

        follower = Batches()
        follower.following = self.broker.follow(self.stream, None, follower)
        follower.may_call = True
        await until(lambda: follower.ends)
        self.assertEqual(follower.ids, named(*range(20)))
        self.assertEqual(set(batches[:-1]), {3})


class FollowingTests(SynchronousTestCase):
    """`SQLiteFollowing` with pages turned by hand."""

    def setUp(self) -> None:
        self.asked: list[tuple[int | None, Deferred[RecordPage]]] = []
        self.follower = Recorder()
        self.following = SQLiteFollowing(
            Stream("lobby", "e1"), None, self.follower, self.turn_page, lambda following: None
        )
        self.following.begin()
        self.follower.following = self.following
        self.follower.may_call = True

    def turn_page(
        self, stream: Stream, start: int | None, tail: int | None
    ) -> Deferred[RecordPage]:
        page: Deferred[RecordPage] = Deferred()
        self.asked.append((start, page))
        return page

    def page(self, first: int, stop: int, complete: bool = True) -> None:
        """Answer the latest page asked for with the records ``first <= offset < stop``."""
        records = self.records(first, stop)
        self.asked[-1][1].callback(RecordPage(records, stop, stop - 1, complete, False))

    def records(self, first: int, stop: int) -> list[Record]:
        return [Record(n, b"") for n in range(first, stop)]

    def offsets(self) -> list[int]:
        return [record.offset for record in self.follower.got]

    def test_commits_during_the_last_page_follow_it(self) -> None:
        self.following.grown(self.records(3, 5))
        self.page(0, 4)
        self.assertEqual(self.offsets(), [0, 1, 2, 3, 4])
        self.assertEqual(self.follower.calls, ["records", "caught_up", "records"])

    def test_more_commits_than_are_kept_aside_are_read(self) -> None:
        for n in range(1000):
            self.following.grown(self.records(n, n + 1))
            self.assertLessEqual(len(self.following._aside), PAGE_RECORDS)
        self.page(0, 10)
        self.assertEqual(self.follower.calls, ["records"])
        self.assertEqual(self.asked[-1][0], 10)
        self.page(10, 1000)
        self.assertEqual(self.offsets(), list(range(1000)))
        self.assertEqual(self.follower.calls[-1], "caught_up")

    def test_a_commit_that_a_page_has_shown_is_not_shown_again(self) -> None:
        self.page(0, 5)
        self.following.grown(self.records(3, 7))
        self.following.grown(self.records(7, 8))
        self.assertEqual(self.offsets(), list(range(8)))

    def test_a_commit_that_nobody_was_told_of_is_read(self) -> None:
        self.page(0, 5)
        self.following.grown(self.records(6, 7))
        self.assertEqual(self.offsets(), [0, 1, 2, 3, 4])
        self.assertEqual(self.asked[-1][0], 5)
        self.following.grown(self.records(7, 8))
        self.page(5, 7)
        self.assertEqual(self.offsets(), list(range(8)))
        self.assertEqual(
            self.follower.calls,
            ["records", "caught_up", "interrupted", "records", "caught_up", "records"],
        )

    def test_a_page_asked_for_before_an_interruption_is_not_handed_over(self) -> None:
        (_, late) = self.asked[-1]
        self.following.interrupt()
        self.following.begin()
        late.callback(RecordPage(self.records(0, 3), 3, 2, True, False))
        self.assertEqual(self.follower.calls, ["interrupted"])
        self.page(0, 3)
        self.assertEqual(self.offsets(), [0, 1, 2])

    def test_nor_does_it_end_what_was_begun_since(self) -> None:
        (_, late) = self.asked[-1]
        self.following.interrupt()
        self.following.begin()
        late.errback(Unavailable("the records cannot be read"))
        self.page(0, 3)
        self.assertEqual(self.follower.calls, ["interrupted", "records", "caught_up"])

    def test_who_stops_is_told_nothing_more(self) -> None:
        for call in ("truncated", "records", "caught_up"):
            self.setUp()
            self.follower.stop_in = call
            self.following.grown(self.records(3, 5))
            self.asked[-1][1].callback(RecordPage(self.records(1, 3), 3, 2, True, True))
            self.assertEqual(self.follower.calls[-1], call)


class ClearingTests(FilledTests):
    async def test_a_deleted_stream_leaves_nothing(self) -> None:
        await self.filled(0)
        await self.fill(0, 500, "x" * 1000)
        self.patch(sqlite_store, "PIECE_RECORDS", 100)
        await self.broker.delete(self.stream)
        await self.broker.create(self.stream)
        await self.fill(0, 2)
        self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(0, 1))
        await self.broker.sweep()
        db = connect(self.path)
        self.addCleanup(db.close)
        self.assertEqual(db.execute("SELECT count(*) FROM record").fetchone(), (2,))
        self.assertEqual(db.execute("SELECT count(*) FROM stream").fetchone(), (1,))
        self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(0, 1))

    async def test_one_that_is_made_again_in_the_same_commit(self) -> None:
        """Who followed the one before is told of nothing that comes after it."""
        await self.filled(1)
        follower = Recorder()
        follower.following = self.broker.follow(self.stream, None, follower)
        follower.may_call = True
        await until(lambda: follower.ends)
        self.append("m1")
        self.broker.delete(self.stream)
        self.broker.create(self.stream)
        await self.append("m2")
        self.assertEqual((follower.ids, follower.calls[-1]), (named(0, 1), "gone"))
        await self.append("m3")
        self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(2, 3))

    async def test_what_is_known_of_streams_between_commits_is_bounded(self) -> None:
        self.patch(sqlite_store, "_HEADS", 3)
        await self.filled(0)
        streams = [Stream("other", str(n)) for n in range(5)]
        for stream in streams * 2:
            self.broker.create(stream)
            await self.broker.append(stream, b"{}", "id", now())
            self.assertLessEqual(len(self.broker._open.writer._heads), 4)
        self.assertEqual([await self.broker.end(stream) for stream in streams], [1] * 5)

    async def test_ids_of_streams_are_used_again(self) -> None:
        await self.filled(1)
        for n in range(5):
            other = Stream("other", str(n))
            await self.broker.create(other)
            await self.broker.delete(other)
            await self.broker.sweep()
        early, late = Stream("early", "e"), Stream("late", "e")
        await self.broker.create(early)
        await self.broker.create(late)
        await self.broker.delete(early)
        await self.broker.sweep()
        await self.broker.create(Stream("last", "e"))
        db = connect(self.path)
        self.addCleanup(db.close)
        ids = db.execute("SELECT id FROM stream ORDER BY id").fetchall()
        self.assertEqual(ids, [(1,), (2,), (3,)])

    async def test_a_sweep_lets_commits_through(self) -> None:
        await self.filled(0, Retention(size=10_000))
        await self.fill(0, 1000)
        self.patch(sqlite_store, "PIECE_RECORDS", 50)
        swept = self.broker.sweep()
        between = 0
        while not swept.called:
            await self.append("later")
            between += 1
        self.assertGreater(between, 3)
        kept = await self.broker.read(self.stream, 0, 10_000)
        self.assertLessEqual(sum(len(r.body) for r in kept[:-between]), 10_000)

    async def test_pieces_are_bounded_in_bytes(self) -> None:
        await self.filled(0, Retention(size=10_000))
        await self.fill(0, 100, "x" * 1000)
        self.patch(sqlite_store, "PIECE_BYTES", 5000)
        writer = self.broker._open.writer
        before = (await self.broker.read(self.stream, 0, 1000))[0].offset
        more = await self.broker._open.writing.call(writer.trim, 1, 0)
        self.assertTrue(more)
        after = (await self.broker.read(self.stream, 0, 1000))[0].offset
        self.assertEqual(after - before, 5)

    async def test_freed_space_is_used_again_and_given_back(self) -> None:
        await self.filled(0, Retention(size=200_000))
        text = "x" * 4000
        sizes = []
        for n in range(6):
            await self.fill(100 * n, 100 * n + 100, text)
            await self.broker.sweep()
            db = connect(self.path)
            sizes.append(db.execute("PRAGMA page_count").fetchone()[0])
            db.close()
        self.assertLessEqual(sizes[-1], sizes[1] * 1.1)
        self.patch(sqlite_store, "_SPARE_PAGES", 10)
        await self.broker.delete(self.stream)
        await self.broker.sweep()
        db = connect(self.path)
        self.addCleanup(db.close)
        self.assertLess(db.execute("PRAGMA page_count").fetchone()[0], sizes[-1] / 4)

    async def test_sizes_kept_are_the_sizes_there(self) -> None:
        await self.filled(0, Retention(size=30_000))
        for n in range(5):
            await self.fill(100 * n, 100 * n + 100, "é" * n)
            await self.broker.sweep()
        self.check_sizes()
