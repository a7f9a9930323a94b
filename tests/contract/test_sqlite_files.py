"""A broker's file: what lasts in it, which one is refused, and those of older versions."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import Retention, Stream, Unavailable
from chatd.brokers.registry import preflight
from chatd.brokers.sqlite import schema
from chatd.brokers.sqlite.schema import APPLICATION_ID, STEPS, connect, prepare
from chatd.errors import StartError
from tests.support.recording import ids, named
from tests.support.sqlite import FilledTests, SQLiteFiles, limited_files
from tests.support.waiting import until

#: Bytes to which the write-ahead log is cut.
LOG = 16 * 2**20


class FileTests(FilledTests):
    """What lasts, and which file is no good."""

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

    async def test_the_log_is_cut_when_nobody_reads_from_outside_any_more(self) -> None:
        await self.filled()
        reader = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(reader.close)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()

        async def size() -> int:
            await self.append("more", "x" * 60_000)
            return os.path.getsize(f"{self.path}-wal")

        while await size() < LOG + 4 * 2**20:
            pass
        reader.execute("ROLLBACK")
        sizes = [await size() for _ in range(20)]
        self.assertLessEqual(sizes[-1], LOG)

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
        opened = self.broker._open
        held = self.hold(opened.writing)
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
        self.hold(self.broker._open.writing)
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

    async def test_a_second_name_of_the_same_file_is_refused(self) -> None:
        await self.filled()
        link = self.mktemp()
        os.link(self.path, link)
        with self.assertRaises(StartError) as caught:
            preflight(f"sqlite:{link}")
        self.assertIn("a hard link", str(caught.exception))
        self.assertIn("a hard link", self.refusal(link))
        await self.append("m3")
        await self.broker.stopService()
        self.assertIn("a hard link", self.refusal(self.path))
        os.unlink(link)
        again = self.started(self.path)
        self.assertEqual(ids(await again.read(self.stream, 0, 10)), named(0, 1, 2, 3))

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

    async def test_no_room_at_a_start_on_what_is_there(self) -> None:
        """It can be read, though not even the process id can be written."""
        await self.filled()
        other = connect(self.path)  # as after a crash, the write-ahead log stays
        self.addCleanup(other.close)
        other.execute("SELECT * FROM life").fetchall()
        await self.broker.stopService()
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with limited_files(0), mock.patch("os.pwrite", side_effect=full):
            again = self.started(self.path)
            self.assertEqual(ids(await again.read(self.stream, 0, 10)), named(0, 1, 2))
            with self.assertRaises(Unavailable):
                await again.append(self.stream, b"", "id", 0)
        again._watch()
        await until(lambda: again.ready)


class Killed(BaseException):
    """The process ends here."""


def prepare_until(path: str, statements: int) -> bool:
    """`prepare` by a process that is killed after so many ``statements``; whether it was."""

    class Connection(sqlite3.Connection):
        left = statements

        def execute(self, *args: Any) -> sqlite3.Cursor:
            if self.left == 0:
                raise Killed
            self.left -= 1
            return super().execute(*args)

    def dying(path: str) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, factory=Connection)

    try:
        with mock.patch.object(schema, "connect", dying):
            prepare(path)
    except Killed:
        return True
    return False


class MigrationTests(SQLiteFiles, TestCase):
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

    def shape(self, path: str) -> list[tuple[str, ...]]:
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
        self.assertEqual(self.shape(old), self.shape(new))

    def test_a_start_or_an_upgrade_that_was_killed_is_done_again(self) -> None:
        for begin in (self.mktemp, self.version_1):
            new, statements, killed = begin(), 0, True
            prepare(new)
            while killed:
                path = begin()
                killed = prepare_until(path, statements)
                prepare(path)
                self.assertEqual(self.shape(path), self.shape(new), statements)
                statements += 1
            self.assertGreater(statements, 8)

    def test_a_failing_upgrade_changes_nothing(self) -> None:
        path = self.version_1()
        before = self.shape(path)
        with self.assertRaises(StartError):
            prepare(path, (*STEPS, "INSERT INTO nowhere VALUES (1)"))
        self.assertEqual(self.shape(path), before)
        prepare(path)
