"""Whether a database is an earlier copy of the one that was in use last."""

from __future__ import annotations

import os
import shutil
from unittest import mock, skipUnless

from twisted.logger import capturedLogs

from chatd.brokers.interfaces import Stream
from chatd.brokers.sqlite import broker, lineage
from chatd.brokers.sqlite.mark import read_mark
from tests.support.sqlite import FilledTests
from tests.support.waiting import until, until_of


class LineageTests(FilledTests):
    def setUp(self) -> None:
        # a disk that others use, too, may take long
        self.patch(broker, "STOP_SECONDS", FilledTests.timeout)

    async def again(self) -> None:
        """Stop, and start again."""
        await self.broker.stopService()
        self.broker = self.started(self.path)

    async def copied(self) -> str:
        """A copy of the database as it is, and something stored after it."""
        await self.broker.stopService()
        copy = f"{self.path}.copy"
        shutil.copy(self.path, copy)
        self.broker = self.started(self.path)
        await self.fill(3, 6)
        return copy

    async def put_back(self, copy: str) -> None:
        await self.broker.stopService()
        shutil.copy(copy, self.path)
        self.broker = self.started(self.path)

    async def test_the_same_one(self) -> None:
        await self.filled()
        for n in range(3, 6):
            await self.again()
            self.assertFalse(self.broker.restored)
            await self.fill(n, n + 1)

    async def test_one_that_nothing_is_written_to(self) -> None:
        """Then nothing is written of that, either."""
        await self.filled()
        await self.broker._advance(self.broker._open)
        before = read_mark(self.path)
        await self.broker._advance(self.broker._open)
        self.assertEqual(read_mark(self.path), before)

    async def test_an_earlier_copy(self) -> None:
        """It is one until the rooms have new lives."""
        await self.filled()
        await self.put_back(await self.copied())
        self.assertTrue(self.broker.restored)
        await self.fill(3, 4)
        await self.again()
        self.assertTrue(self.broker.restored)
        before = read_mark(self.path)
        self.broker.restoration_told()
        await until(lambda: read_mark(self.path) != before)
        self.assertFalse(self.broker.restored)
        await self.again()
        self.assertFalse(self.broker.restored)

    async def test_another_one(self) -> None:
        """That of another folder, however often it was written."""
        await self.filled()
        path = self.mktemp()
        for n in range(5):
            other = self.started(path)
            await other.create(Stream("lobby", f"e{n}"))
            await other.stopService()
        await self.put_back(path)
        self.assertTrue(self.broker.restored)

    async def test_one_that_is_gone(self) -> None:
        """That is said, and is no restoration; a log that is left is kept."""
        await self.filled()
        await self.broker.stopService()
        os.remove(self.path)
        with open(f"{self.path}-wal", "wb") as log:
            log.write(b"the only records left")
        with capturedLogs() as events:
            self.broker = self.started(self.path)
        self.assertFalse(self.broker.restored)
        self.assertTrue([one for one in events if "was empty or gone" in one["log_format"]])
        with open(f"{self.path}-wal.lost", "rb") as log:
            self.assertEqual(log.read(), b"the only records left")

    async def test_a_mark_that_could_not_be_written(self) -> None:
        """It is tried again, though nothing more is stored, and said once."""
        await self.filled()
        copy = await self.copied()
        before = read_mark(self.path)
        fault = OSError("No space left on device")
        with mock.patch.object(lineage, "write_mark", side_effect=fault) as writing:
            with capturedLogs() as events:
                for calls in (1, 2):
                    self.broker._watch()
                    await until_of(calls, lambda number: writing.call_count >= number)
                await self.broker.end(self.stream)
            self.assertEqual(read_mark(self.path), before)
        said = [one for one in events if "cannot be written" in one["log_format"]]
        self.assertEqual(len(said), 1)
        self.broker._watch()
        await until(lambda: read_mark(self.path) != before)
        await self.put_back(copy)
        self.assertTrue(self.broker.restored)

    @skipUnless(os.geteuid() == 0, "only root gives files away")
    async def test_a_mark_is_for_the_owner_of_the_database(self) -> None:
        """Root may have started chatd once by hand: its user must be able to read it afterwards."""
        await self.filled()
        os.chown(self.path, 1234, 5678)
        await self.fill(3, 4)
        await self.broker._advance(self.broker._open)
        found = os.stat(f"{self.path}.mark")
        self.assertEqual((found.st_uid, found.st_gid), (1234, 5678))
