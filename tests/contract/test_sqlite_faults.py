"""A disk that is full, broken or slow, and more work than waits."""

from __future__ import annotations

import os
import shutil
import sqlite3
from threading import Thread
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from chatd.brokers.interfaces import NotStored, Retention, Stream, Unavailable
from chatd.brokers.sqlite import broker as sqlite
from chatd.brokers.sqlite import threads as sqlite_threads
from chatd.brokers.sqlite.broker import WAITING_READS
from chatd.brokers.sqlite.checkup import Checkup
from chatd.brokers.sqlite.files import Replaced
from chatd.brokers.sqlite.schema import connect
from tests.support.recording import Recorder, body, ids, named, now
from tests.support.sqlite import FilledTests, limited_files
from tests.support.waiting import until

#: A text with which a record fills more than half a page.
PAGE = "x" * 3000


class FaultTests(FilledTests):
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
                # it is not, but may be found in the write-ahead log by the next start
                self.assertTrue(isinstance(failure, Failure) and failure.type is Unavailable)
            self.assertIs(self.broker.ready, False)
            self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(0, 1, 2))
        self.broker._watch()
        await until(lambda: self.broker.ready)
        await self.append("m3")
        self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(0, 1, 2, 3))
        self.assertEqual(follower.ids, named(0, 1, 2, 3))
        # or the directory, which writes when it is level, would do nothing else
        self.assertNotIn("interrupted", follower.calls)
        self.check_sizes()
        following.stop()

    async def test_a_full_disk_of_which_little_is_freed(self) -> None:
        """Enough for the probe, but for no message: it stays full, and that is said once."""
        await self.filled()
        opened = self.broker._open
        assert opened is not None
        place = "chatd.brokers.sqlite.files.shutil.disk_usage"
        opened.writer._db.execute("PRAGMA max_page_count = 1")  # as many as there are
        with capturedLogs() as events:
            failed = self.append("x", PAGE * 10)
            await self.assertFailure(failed, NotStored)
            for free, blocked in ((100_000, True), (1_100_000, False)):
                with mock.patch(place, return_value=SimpleNamespace(free=free)):
                    self.broker._watch()
                    await opened.writing.call(lambda: None)
                self.assertEqual(bool(self.broker.blocked), blocked, free)
            said = [formatEvent(event) for event in events if "stored" in formatEvent(event)]
        self.assertEqual(len(said), 2, said)

    async def test_a_file_that_cannot_be_read_makes_reads_unavailable(self) -> None:
        await self.filled()
        await self.broker.stopService()
        size = os.path.getsize(self.path)
        self.broker.startService()
        with open(self.path, "r+b") as file:  # pages, but for the first, overwritten on the disk
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        damaged = r"the database is damaged \(see the runbook\)"
        follower = Recorder()
        follower.following = following = self.broker.follow(self.stream, None, follower)
        self.addCleanup(following.stop)
        follower.may_call = True
        await until(lambda: follower.calls)
        self.assertRegex(following.fault, damaged)
        with self.assertRaisesRegex(Unavailable, damaged):
            await self.broker.read(self.stream, 0, 10)
        with self.assertRaisesRegex(Unavailable, damaged):
            await self.append("m3")
        await self.broker.sweep()

    async def test_a_damaged_page_of_one_stream_is_no_fault_of_the_others(self) -> None:
        """In one commit, and in one sweep."""
        await self.filled(0)
        await self.fill(0, 20, PAGE.upper())
        near, gone, den = (Stream(name, "e1") for name in ("near", "gone", "den"))
        for other in near, gone, den:
            await self.broker.create(other)
            for n in range(5):
                await self.append_to(other, f"m{n}")
        await self.broker.stopService()
        self.damage(b"X" * 100)
        self.broker = self.started(self.path, Retention(size=2 * len(PAGE)))
        with capturedLogs() as events:
            lost, kept = self.append("m20", PAGE), self.append_to(den, "m5")
            with self.assertRaisesRegex(NotStored, "the database is damaged"):
                await lost
            await kept
            self.assertIs(self.broker.ready, True)
            await self.broker.delete(gone)
            for _ in range(3):
                await self.broker.sweep()
                with self.assertRaises(Unavailable):
                    await self.append("m20", PAGE)
        self.assertEqual(ids(await self.broker.read(den, 0, 10)), ["m5"])
        self.assertEqual(self.streams(), ["lobby", "near", "den"])
        told = [formatEvent(event) for event in events]
        for text, times in ("is damaged: database", 1), ("can be stored", 0):
            self.assertEqual(sum(text in line for line in told), times, told)
        told = [line for line in told if "cannot clear up" in line]
        self.assertIn(len(told), (1, 2), "more than once for a stream on a page, or beside it")

    def append_to(self, stream: Stream, id: str) -> Deferred[None]:
        appended: Deferred[None] = self.broker.append(stream, body(id, PAGE), id, now())
        return appended

    def damage(self, part: bytes) -> None:
        """Overwrite the pages of the closed file that hold ``part``. (One byte would not do: it may
        be in the times on a page that all streams share.)"""
        with open(self.path, "r+b") as file:
            while page := file.read(4096):
                if part in page:
                    file.seek(-4096, os.SEEK_CUR)
                    file.write(b"\xff" * 4096)

    def streams(self) -> list[str]:
        """The rooms whose streams are in the file."""
        db = connect(self.path)
        self.addCleanup(db.close)
        names = db.execute("SELECT name FROM stream ORDER BY id").fetchall()
        return [name and name.split(".")[2] for (name,) in names]

    async def test_that_nothing_can_be_removed_is_said_once(self) -> None:
        """A disk that is full for a day would else have a line every two seconds."""
        broker = await self.filled(retention=Retention(size=1))
        no_space = sqlite3.OperationalError("database or disk is full")
        with capturedLogs() as events:
            for fault in (no_space, no_space, None, no_space):
                with mock.patch.object(broker._open.writer, "trim", side_effect=fault) as trim:
                    trim.return_value = False
                    await broker.sweep()
        # the check-up of the start may end meanwhile
        said = [line for line in map(formatEvent, events) if "looked through" not in line]
        self.assertEqual(said, [f"cannot clear up {self.path}: database or disk is full"] * 2)

    async def test_a_backup_is_noticed_though_the_mark_had_to_wait(self) -> None:
        """Another program has the database locked when it is to be marked as written."""
        await self.filled()
        await self.broker.stopService()
        shutil.copy(self.path, f"{self.path}.backup")
        self.patch(sqlite.SQLiteBroker, "_watch", lambda _: None)  # it marks by itself, too
        broker = self.broker = self.started(self.path)
        await self.fill(3, 4)
        broker._open.writer._db.execute("PRAGMA busy_timeout = 0")
        other = connect(self.path)
        other.execute("BEGIN IMMEDIATE")
        with capturedLogs() as events:
            await broker._advance(broker._open)
        self.assertIn("database is locked", "".join(map(formatEvent, events)))
        other.close()
        await broker.stopService()
        shutil.move(f"{self.path}.backup", self.path)
        self.assertTrue(self.started(self.path).restored)

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

    async def test_much_that_waits_is_committed_in_pieces(self) -> None:
        """What a disk that stood still for a while made wait is handed out in as many turns."""
        for limit, most, sizes in (
            ("COMMIT_RECORDS", 3, [3, 3, 1]),
            ("COMMIT_BYTES", 1500, [2, 2, 2, 1]),
            ("COMMIT_BYTES", 1, [1] * 7),
        ):
            await self.filled(0)
            self.patch(sqlite_threads, limit, most)
            commit = mock.Mock(side_effect=self.broker._open.commits._commit)
            self.patch(self.broker._open.commits, "_commit", commit)
            appended = [self.append(f"m{n}", "x" * 500) for n in range(7)]
            await self.broker._open.commits.flush()
            self.assertTrue(all(one.called for one in appended))
            self.assertEqual([len(call.args[0]) for call in commit.call_args_list], sizes)
            self.assertEqual(self.broker._open.commits._bytes, 0)
            self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(*range(7)))
            await self.broker.stopService()
            self.patch(sqlite_threads, limit, 1_000_000)

    async def test_too_many_reads_are_refused(self) -> None:
        await self.filled()
        reads = [self.broker.end(self.stream) for _ in range(WAITING_READS + 1)]
        outcome = await DeferredList(reads, consumeErrors=True)
        self.assertEqual(sum(ok for ok, _ in outcome), WAITING_READS)
        self.assertEqual(await self.broker.end(self.stream), 2)

    async def test_a_disk_that_does_not_answer_reads(self) -> None:
        await self.filled()
        held = self.hold(self.broker._open.reading)
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
        opened = self.broker._open
        held = self.hold(opened.writing)
        first = self.append("m3")
        await until(lambda: opened.commits._began is not None)
        second = self.append("m4")
        self.patch(sqlite_threads, "PATIENCE", 0.0)
        self.broker._watch()
        self.assertIs(self.failureResultOf(first).type, Unavailable)
        self.assertIs(self.failureResultOf(second).type, NotStored)
        self.failureResultOf(self.append("m5"), Unavailable)
        self.assertIs(self.broker.ready, False)
        held.set()
        await until(lambda: self.broker.ready)
        await self.append("m6")
        self.assertEqual(
            ids(await self.broker.read(self.stream, 0, 10)), [*named(0, 1, 2), "m3", "m6"]
        )
        self.assertEqual(len(self.flushLoggedErrors()), 0)


class DoubtTests(FilledTests):
    """Commits that failed: what is in the file, and what followers are told, stay the same."""

    async def follow(self) -> Recorder:
        follower = Recorder()
        follower.following = self.broker.follow(self.stream, None, follower)
        self.addCleanup(follower.following.stop)
        follower.may_call = True
        await until(lambda: follower.ends)
        return follower

    def looks(self, *outcomes: Replaced | None) -> Any:
        """The next looks at the files end so."""
        files = self.broker._open.writer._files
        return mock.patch.object(files, "check", side_effect=outcomes)

    async def test_what_is_refused_because_the_file_was_moved_is_not_in_it(self) -> None:
        await self.filled()
        follower = await self.follow()
        os.rename(self.path, f"{self.path}.away")
        with self.assertRaises(NotStored):
            await self.append("m3")
        os.rename(f"{self.path}.away", self.path)
        self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(0, 1, 2))
        await self.append("m4")
        self.assertEqual(follower.ids, named(0, 1, 2, 4))
        self.assertEqual(ids(await self.broker.read(self.stream, 0, 10)), named(0, 1, 2, 4))

    async def test_what_was_committed_into_a_file_moved_at_that_moment_is_shown(self) -> None:
        await self.filled()
        follower = await self.follow()
        with self.looks(None, Replaced("moved")), self.assertRaises(Unavailable) as raised:
            await self.append("m3")
        self.assertNotIsInstance(raised.exception, NotStored)
        await until(lambda: len(follower.ends) == 2)
        self.assertEqual(follower.ids, named(0, 1, 2, 3))
        await self.append("m4")
        self.assertEqual(follower.ids, named(0, 1, 2, 3, 4))

    async def test_a_deletion_committed_into_a_file_moved_at_that_moment_is_told(self) -> None:
        await self.filled()
        follower = await self.follow()
        with self.looks(None, Replaced("moved")), self.assertRaises(Unavailable):
            await self.broker.delete(self.stream)
        await until(lambda: follower.calls[-1] == "gone")

    async def test_a_commit_that_fails_at_its_very_end(self) -> None:
        """The disk says no, and has it all the same."""
        await self.filled()
        follower = await self.follow()
        writer = self.broker._open.writer

        class Lying:
            """The connection, but its next commit fails after it was done."""

            def __init__(self, db: sqlite3.Connection) -> None:
                self._db = db

            def execute(self, statement: str, *values: Any) -> Any:
                done = self._db.execute(statement, *values)
                if statement == "COMMIT":
                    writer._db = self._db
                    raise sqlite3.OperationalError("disk I/O error")
                return done

            def __getattr__(self, name: str) -> Any:
                return getattr(self._db, name)

        writer._db = Lying(writer._db)
        with self.assertRaises(Unavailable) as raised:
            await self.append("m3")
        self.assertNotIsInstance(raised.exception, NotStored)
        await until(lambda: len(follower.ends) == 2)
        await self.append("m4")
        self.assertEqual(follower.ids, named(0, 1, 2, 3, 4))


class StopTests(FilledTests):
    """A stop that something goes wrong with."""

    async def stopped(self) -> None:
        """What was acknowledged is there, and another process may open the file."""
        again = self.started(self.path)
        self.assertEqual(ids(await again.read(self.stream, 0, 10)), named(0, 1, 2))

    async def test_a_check_that_the_disk_holds_up(self) -> None:
        await self.filled()
        self.hold(self.broker._open.checking)
        self.patch(sqlite, "STOP_SECONDS", 0.05)
        waits = AssertionError("the reactor waits for a thread")
        with mock.patch.object(Thread, "join", side_effect=waits):
            await self.broker.stopService()
        await self.stopped()

    async def test_a_check_that_has_not_begun(self) -> None:
        await self.filled()
        checkup = Checkup(self.path)
        with capturedLogs() as events:
            checkup.stop()
            checkup.run()
        self.assertEqual(events, [])

    async def test_a_file_that_cannot_be_closed(self) -> None:
        await self.filled()
        follower = Recorder()
        following = self.broker.follow(self.stream, None, follower)
        follower.may_call = True
        await until(lambda: follower.ends)
        fault = OSError("the disk is gone")
        closing = mock.patch.object(self.broker._open.reader, "close", side_effect=fault)
        with closing, self.assertRaises(OSError):
            await self.broker.stopService()
        self.assertEqual(follower.calls[-1], "interrupted")
        following.stop()
        await self.stopped()

    async def test_clearing_up_had_failed(self) -> None:
        await self.filled()
        self.patch(sqlite, "SWEEP_SECONDS", 0.0)
        await self.broker.stopService()
        self.broker.startService()
        fault = OSError("the disk is gone")
        with mock.patch.object(self.broker._open.reader, "overdue", side_effect=fault):
            await until(lambda: not self.broker._sweeping.running)
        waiting = self.append("m3")
        with self.assertRaises(OSError):
            await self.broker.stopService()
        self.assertIsNone(self.successResultOf(waiting))
        again = self.started(self.path)
        self.assertEqual(ids(await again.read(self.stream, 0, 10)), named(0, 1, 2, 3))
