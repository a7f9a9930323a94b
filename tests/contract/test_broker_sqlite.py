"""`SQLiteBroker`: the suite over a file, and what only a file can do."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatd.brokers.interfaces import Record, Retention, StartError, Stream, Unavailable
from chatd.brokers.sqlite import broker as sqlite
from chatd.brokers.sqlite import follower as sqlite_following
from chatd.brokers.sqlite import reader as sqlite_reader
from chatd.brokers.sqlite import threads as sqlite_threads
from chatd.brokers.sqlite import writer as sqlite_store
from chatd.brokers.sqlite.broker import WAITING_READS, SQLiteBroker
from chatd.brokers.sqlite.follower import SQLiteFollowing
from chatd.brokers.sqlite.reader import RecordPage
from chatd.brokers.sqlite.schema import APPLICATION_ID, STEPS, connect, prepare
from tests.contract import broker_suite
from tests.support.recording import Recorder, body, ids, named, now
from tests.support.waiting import until


class _Made:
    """Makes brokers on files of their own, and stops what is still running."""

    def mktemp(self: Any) -> str:
        """The path of a file not made yet, in a folder that goes with the test."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        return os.path.join(folder, "chatd.sqlite")

    def make(self: Any, path: str | None = None, retention: Retention | None = None) -> Any:
        broker = SQLiteBroker(reactor, path or self.mktemp(), retention)
        self.addCleanup(lambda: broker.stopService() if broker.running else None)
        return broker

    def started(self: Any, path: str | None = None, retention: Retention | None = None) -> Any:
        broker = self.make(path, retention)
        broker.startService()
        return broker


class SQLiteBrokerSuite(_Made, broker_suite.ExactRetentionSuite):
    __test__ = True

    async def make_broker(self, retention: Retention | None = None) -> SQLiteBroker:
        self.path = self.mktemp()
        self.retention = retention
        broker: SQLiteBroker = self.started(self.path, retention)
        return broker

    async def interrupt(self, broker: SQLiteBroker) -> None:
        await broker.stopService()

    async def resume(self, broker: SQLiteBroker) -> None:
        broker.startService()

    async def elsewhere(self, broker: SQLiteBroker) -> SQLiteBroker:
        other: SQLiteBroker = self.started(self.path, self.retention)
        return other

    async def leave(self, other: SQLiteBroker) -> None:
        await other.stopService()

    async def truncate(self, other: SQLiteBroker, stream: Stream, before: int) -> None:
        kept = await other.read(stream, before, 1_000_000)
        await other.stopService()
        tight: SQLiteBroker = self.started(
            self.path, Retention(size=sum(len(record.body) for record in kept))
        )
        await tight.sweep()
        await tight.stopService()
        other.startService()

    async def sweep(self, broker: SQLiteBroker) -> None:
        await broker.sweep()


class FileTests(_Made, TestCase):
    """Lasting, and what goes wrong with files."""

    timeout = 60

    async def filled(self, count: int = 3, retention: Retention | None = None) -> Any:
        """A started broker and a stream with records in it, as ``self.broker``, ``self.stream``."""
        self.path = self.mktemp()
        self.broker = self.started(self.path, retention)
        self.stream = Stream("lobby", "e1")
        await self.broker.create(self.stream)
        await self.fill(0, count)
        return self.broker

    async def fill(self, first: int, stop: int, text: str = "hello") -> None:
        await gatherResults([self.append(f"m{n}", text) for n in range(first, stop)])

    def append(self, id: str, text: str = "hello") -> Deferred[None]:
        made = body(id, text)
        appended: Deferred[None] = self.broker.append(self.stream, made, id, now())
        return appended

    async def test_a_restart_keeps_everything(self) -> None:
        await self.filled()
        await self.broker.stopService()
        again = self.started(self.path)
        self.assertEqual(ids(await again.read(self.stream, 0, 10)), named(0, 1, 2))

    async def test_the_file_is_the_owner_s_alone(self) -> None:
        await self.filled()
        for name in (self.path, f"{self.path}-wal", f"{self.path}.lock"):
            self.assertEqual(stat.S_IMODE(os.stat(name).st_mode), 0o600, name)

    async def test_pragmas(self) -> None:
        await self.filled()
        db = connect(self.path)
        self.addCleanup(db.close)
        values = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "auto_vacuum", "application_id")
        }
        self.assertEqual(
            values,
            {
                "journal_mode": "wal",
                "synchronous": 2,
                "auto_vacuum": 2,
                "application_id": APPLICATION_ID,
            },
        )

    async def test_stopping_stores_what_waits(self) -> None:
        await self.filled(0)
        waiting = [self.append(f"m{n}") for n in range(50)]
        stopped = self.broker.stopService()
        self.assertFalse(self.broker.ready)
        with self.assertRaises(Unavailable):
            await self.append("late")
        await stopped
        for done in waiting:
            self.assertIsNone(self.successResultOf(done))
        again = self.started(self.path)
        self.assertEqual(len(await again.read(self.stream, 0, 100)), 50)

    async def test_stopping_stores_what_gathers_behind_a_commit(self) -> None:
        await self.filled(0)
        held, opened = threading.Event(), self.broker._open
        self.addCleanup(held.set)
        opened.writing.post(held.wait)
        first = self.append("m0")
        await until(lambda: opened.commits._began is not None)
        second = self.append("m1")
        stopped = self.broker.stopService()
        held.set()
        await stopped
        for done in (first, second):
            self.assertIsNone(self.successResultOf(done))

    async def test_stopping_does_not_wait_for_a_disk_that_never_answers(self) -> None:
        await self.filled(0)
        held, opened = threading.Event(), self.broker._open
        self.addCleanup(held.set)
        opened.writing.post(held.wait)
        waiting = [self.append(f"m{n}") for n in range(2)]
        with mock.patch("chatd.brokers.sqlite.broker.STOP_SECONDS", 0.05):
            await self.broker.stopService()
        for done in waiting:
            self.failureResultOf(done, Unavailable)

    async def test_stopping_answers_reads_and_ends_a_sweep(self) -> None:
        await self.filled(500, Retention(size=1000))
        reads = [self.broker.read(self.stream, 0, 500) for _ in range(20)]
        swept = self.broker.sweep()
        with mock.patch("chatd.brokers.sqlite.broker.STOP_SECONDS", 60.0):
            await self.broker.stopService()
        for read in reads:
            self.assertTrue(self.successResultOf(read))
        self.assertIsNone(self.successResultOf(swept))

    async def test_before_start_all_is_unavailable(self) -> None:
        broker = self.make()
        with self.assertRaises(Unavailable):
            await broker.end(Stream("lobby", "e1"))
        self.assertIs(broker.ready, False)
        self.assertFalse(os.path.exists(broker._path))

    # -- start

    def refusal(self, path: str) -> str:
        with self.assertRaises(StartError) as caught:
            self.started(path)
        (line,) = str(caught.exception).splitlines()
        self.assertIn(os.path.realpath(path), line)
        return line

    async def test_a_second_process_is_refused(self) -> None:
        await self.filled()
        code = (
            "import sys\n"
            "from twisted.internet import reactor\n"
            "from chatd.brokers.sqlite.broker import SQLiteBroker\n"
            "from chatd.errors import StartError\n"
            "try: SQLiteBroker(reactor, sys.argv[1]).startService()\n"
            "except StartError as e: print(e)\n"
        )
        said = subprocess.run(
            [sys.executable, "-c", code, self.path], capture_output=True, text=True, check=True
        )
        self.assertEqual(said.stderr, "")
        self.assertIn(f"process {os.getpid()} has it open", said.stdout)
        self.assertIn("--broker sqlite:PATH", said.stdout)
        self.assertEqual(len(said.stdout.splitlines()), 1)

    async def test_another_name_of_the_same_file_is_refused(self) -> None:
        await self.filled()
        link = self.mktemp()
        os.symlink(os.path.abspath(self.path), link)
        with self.assertRaises(StartError):
            self.started(link)

    async def test_the_file_is_free_again_after_a_stop_and_after_a_failed_start(self) -> None:
        await self.filled()
        await self.broker.stopService()
        Path(self.path).write_bytes(b"garbage " * 1000)
        for _ in range(2):
            self.assertIn("not a database", self.refusal(self.path))

    def test_no_folder(self) -> None:
        self.assertIn("folder does not exist", self.refusal(self.mktemp() + "/chatd.sqlite"))

    def test_a_folder(self) -> None:
        path = self.mktemp()
        os.mkdir(path)
        self.assertIn("it is a folder", self.refusal(path))

    def test_another_program_s_database(self) -> None:
        path = self.mktemp()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE theirs (x)")
        db.close()
        self.assertIn("not one of chatd's", self.refusal(path))

    def test_a_newer_chatd_s_file(self) -> None:
        path = self.mktemp()
        prepare(path, (*STEPS, "CREATE TABLE tomorrow (x)"))
        line = self.refusal(path)
        self.assertIn(f"version {len(STEPS) + 1}, this one knows {len(STEPS)}", line)

    def test_no_room_at_start(self) -> None:
        with limited_files(1000):
            line = self.refusal(self.mktemp())
        self.assertRegex(line, "full|I/O|disk")

    # -- faults while running

    async def test_a_full_disk_refuses_and_recovers(self) -> None:
        await self.filled()
        follower = Recorder()
        following = self.broker.follow(self.stream, None, follower)
        follower.may_call = True
        await until(lambda: follower.ends)
        with limited_files(os.path.getsize(f"{self.path}-wal")):
            outcome = await DeferredList(
                [self.append(f"x{n}") for n in range(3)], consumeErrors=True
            )
            for ok, failure in outcome:
                self.assertFalse(ok)
                self.assertTrue(isinstance(failure, Failure) and failure.check(Unavailable))
            self.assertIs(self.broker.ready, False)
            self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(0, 1, 2))
        self.broker._watch()
        await until(lambda: self.broker.ready)
        await self.append("m3")
        self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(0, 1, 2, 3))
        self.assertEqual(follower.ids, named(0, 1, 2, 3))
        self.check_sizes()
        following.stop()

    async def test_a_file_that_cannot_be_read_makes_reads_unavailable(self) -> None:
        await self.filled()
        await self.broker.stopService()
        size = os.path.getsize(self.path)
        self.broker.startService()
        with open(self.path, "r+b") as file:  # pages, but for the first, overwritten on the disk
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        with self.assertRaises(Unavailable):
            await self.broker.read(self.stream, 0, 10)
        with self.assertRaises(Unavailable):
            await self.append("m3")
        await self.broker.sweep()

    async def test_too_much_waiting_is_refused(self) -> None:
        await self.filled(0)
        self.patch(sqlite_threads, "WAITING_RECORDS", 10)
        outcome = await DeferredList([self.append(f"m{n}") for n in range(15)], consumeErrors=True)
        self.assertEqual([ok for ok, _ in outcome], [True] * 10 + [False] * 5)
        await self.append("m15")

    async def test_too_many_bytes_waiting_are_refused(self) -> None:
        await self.filled(0)
        self.patch(sqlite_threads, "WAITING_BYTES", 1000)
        appended = [self.append(f"m{n}", "x" * 600) for n in range(4)]
        outcome = await DeferredList(appended, consumeErrors=True)
        self.assertEqual([ok for ok, _ in outcome], [True, True, False, False])
        await self.append("m15")

    async def test_too_many_reads_are_refused(self) -> None:
        await self.filled()
        reads = [self.broker.end(self.stream) for _ in range(WAITING_READS + 1)]
        outcome = await DeferredList(reads, consumeErrors=True)
        self.assertEqual(sum(ok for ok, _ in outcome), WAITING_READS)
        self.assertEqual(await self.broker.end(self.stream), 2)

    async def test_a_disk_that_does_not_answer_reads(self) -> None:
        await self.filled()
        held, opened = threading.Event(), self.broker._open
        self.addCleanup(held.set)
        opened.reading.post(held.wait)
        self.patch(sqlite, "READ_SECONDS", 0.01)
        follower = Recorder()
        follower.following = self.broker.follow(self.stream, None, follower)
        follower.may_call = True
        with self.assertRaises(Unavailable):
            await self.broker.end(self.stream)
        await until(lambda: follower.calls)
        self.assertEqual(follower.calls, ["interrupted"])
        self.patch(sqlite, "READ_SECONDS", 10.0)
        held.set()
        self.assertEqual(await self.broker.end(self.stream), 2)
        self.broker._watch()
        await until(lambda: follower.ends)
        self.assertEqual(follower.calls, ["interrupted", "records", "caught_up"])

    async def test_a_disk_that_does_not_answer(self) -> None:
        await self.filled()
        held, opened = threading.Event(), self.broker._open
        self.addCleanup(held.set)
        opened.writing.post(held.wait)
        first = self.append("m3")
        await until(lambda: opened.commits._began is not None)
        second = self.append("m4")
        self.patch(sqlite_threads, "PATIENCE", 0.0)
        self.broker._watch()
        for answer in (first, second):
            self.failureResultOf(answer, Unavailable)
        self.failureResultOf(self.append("m5"), Unavailable)
        self.assertIs(self.broker.ready, False)
        held.set()
        await until(lambda: self.broker.ready)
        await self.append("m6")
        self.assertEqual(
            ids(await self.broker.read(self.stream, 0, 10)), [*named(0, 1, 2), "m3", "m6"]
        )
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    # -- following

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

    # -- clearing up

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

    def check_sizes(self) -> None:
        db = connect(self.path)
        self.addCleanup(db.close)
        self.assertEqual(
            db.execute("SELECT size, first, next FROM stream").fetchone(),
            db.execute(
                "SELECT sum(length(body)), min(key) & 0xFFFFFFFFFF, (max(key) & 0xFFFFFFFFFF) + 1"
                " FROM record"
            ).fetchone(),
        )


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

    def test_a_page_asked_for_before_an_interruption_is_not_handed_over(self) -> None:
        (_, late) = self.asked[-1]
        self.following.interrupt()
        self.following.begin()
        late.callback(RecordPage(self.records(0, 3), 3, 2, True, False))
        self.assertEqual(self.follower.calls, ["interrupted"])
        self.page(0, 3)
        self.assertEqual(self.offsets(), [0, 1, 2])


class MigrationTests(_Made, TestCase):
    """Files of older versions. What they look like is recorded here, not taken from the code."""

    VERSION_1 = """
        PRAGMA auto_vacuum = INCREMENTAL;
        PRAGMA application_id = 0x63686174;
        PRAGMA journal_mode = WAL;
        CREATE TABLE stream (id INTEGER PRIMARY KEY, name TEXT UNIQUE, next INTEGER NOT NULL);
        CREATE TABLE record (key INTEGER PRIMARY KEY, time INTEGER NOT NULL, body BLOB NOT NULL);
        PRAGMA user_version = 1;
        INSERT INTO stream VALUES (1, 'chatd.directory', 2);
        INSERT INTO stream VALUES (2, 'chatd.room.lobby.e1', 7);
        INSERT INTO stream VALUES (3, 'chatd.room.empty.e2', 5);
        INSERT INTO record VALUES (1099511627776, 1000, CAST('{"d":0}' AS BLOB));
        INSERT INTO record VALUES (1099511627777, 1001, CAST('{"d":1}' AS BLOB));
        INSERT INTO record VALUES (2199023255556, 3000, CAST('four' AS BLOB));
        INSERT INTO record VALUES (2199023255557, 2000, CAST('five' AS BLOB));
        INSERT INTO record VALUES (2199023255558, 4000, CAST('seven-' AS BLOB));
    """

    def version_1(self) -> str:
        path = self.mktemp()
        db = sqlite3.connect(path)
        db.executescript(self.VERSION_1)
        db.close()
        return str(path)

    async def test_version_1_is_upgraded(self) -> None:
        path, forever = self.version_1(), 10_000 * 24 * 3600 * 10
        broker = self.started(path, Retention(age=forever))
        lobby, empty = Stream("lobby", "e1"), Stream("empty", "e2")
        records = await broker.read(lobby, 0, 10)
        self.assertEqual(
            [(r.offset, r.body) for r in records], [(4, b"four"), (5, b"five"), (6, b"seven-")]
        )
        self.assertEqual([await broker.locate(lobby, at) for at in (2500, 3000, 3001)], [4, 4, 6])
        self.assertEqual(len(await broker.read(Stream("", ""), 0, 10)), 2)
        self.assertEqual(await broker.end(empty), 4)
        await broker.append(lobby, b"new", "id", 5000)
        await broker.append(empty, b"new", "id", 5000)
        self.assertEqual((await broker.read(lobby, 7, 8))[0].body, b"new")
        self.assertEqual((await broker.read(empty, 0, 9))[0].offset, 5)
        await broker.stopService()
        db = connect(path)
        self.addCleanup(db.close)
        self.assertEqual(db.execute("PRAGMA user_version").fetchone()[0], len(STEPS))
        self.assertEqual(
            db.execute("SELECT name, first, next, latest, size FROM stream ORDER BY id").fetchall(),
            [
                ("chatd.directory", 0, 2, 1001, 14),
                ("chatd.room.lobby.e1", 4, 8, 5000, 17),
                ("chatd.room.empty.e2", 5, 6, 5000, 3),
            ],
        )

    def schema(self, path: str) -> list[tuple[str, ...]]:
        db = connect(path)
        self.addCleanup(db.close)
        return [
            (table, *column)
            for table in ("stream", "record")
            for column in db.execute(f"PRAGMA table_info({table})").fetchall()
        ]

    def test_an_upgraded_file_is_like_a_new_one(self) -> None:
        old, new = self.version_1(), self.mktemp()
        prepare(old)
        prepare(new)
        self.assertEqual(self.schema(old), self.schema(new))

    def test_a_failing_upgrade_changes_nothing(self) -> None:
        path = self.version_1()
        before = self.schema(path)
        with self.assertRaises(StartError):
            prepare(path, (*STEPS, "INSERT INTO nowhere VALUES (1)"))
        self.assertEqual(self.schema(path), before)
        prepare(path)


class limited_files:
    """While it lasts this process can write no file beyond ``size`` bytes: a disk that is full."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, self._before[1]))

    def __exit__(self, *exc: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


#: Publishes for ever, 50 at a time, and says each id on standard output once it is acknowledged.
PUBLISHER = """
import os, sys, time
from itertools import count
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from chatd.brokers.sqlite.broker import SQLiteBroker
from chatd.brokers.interfaces import Stream
from tests.support.recording import body

path, prefix = sys.argv[1:]
broker, stream = SQLiteBroker(reactor, path), Stream("lobby", "e1")

async def publish(id):
    await broker.append(stream, body(id), id, int(time.time() * 1000))
    os.write(1, (id + "\\n").encode())

async def run():
    broker.startService()
    await broker.create(stream)
    for n in count():
        await gatherResults([ensureDeferred(publish(f"{prefix}-{n}-{k}")) for k in range(50)])

ensureDeferred(run())
reactor.run()
"""


class KillTests(_Made, TestCase):
    timeout = 100

    async def test_kill_9_loses_nothing_acknowledged(self) -> None:
        path, acknowledged = os.path.abspath(self.mktemp()), []
        root = Path(__file__).parents[2]
        for round in range(5):
            publisher = subprocess.Popen(
                [sys.executable, "-c", PUBLISHER, path, f"r{round}"],
                stdout=subprocess.PIPE,
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root)},
            )
            self.addCleanup(publisher.kill)
            assert publisher.stdout is not None
            for _ in range(200 + 317 * round):
                acknowledged.append(publisher.stdout.readline().decode().strip())
            publisher.send_signal(signal.SIGKILL)
            rest = publisher.stdout.read().decode()
            acknowledged += rest.splitlines() if rest.endswith("\n") else rest.splitlines()[:-1]
            publisher.stdout.close()
            self.assertEqual(publisher.wait(), -signal.SIGKILL)
            broker = self.started(path)
            stored = ids(await broker.read(Stream("lobby", "e1"), 0, 1_000_000))
            await broker.stopService()
            self.assertEqual(len(stored), len(set(stored)))
            self.assertEqual(set(acknowledged) - set(stored), set())
            self.assertGreaterEqual(len(acknowledged), 200 * (round + 1))
