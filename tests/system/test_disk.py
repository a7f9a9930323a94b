"""The database of a running chatd is taken away, an earlier copy is put in its place, it is emptied
or damaged: what chatd tells, and what it refuses."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import TestCase

import pytest

from tests.support.asking import ask
from tests.support.daemon import Daemon

MESSAGES = "/rooms/lobby/messages"


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Return when ``condition()`` is true; AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


class DiskTests(TestCase):
    """A daemon, and its database at ``path``."""

    def setUp(self) -> None:
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)
        self.path = self.daemon.folder / "chatd.sqlite"
        self.lobby()

    def lobby(self) -> None:
        eventually(lambda: ask(self.daemon.url("/rooms/lobby"))[0] == 200)

    def publish(self, *texts: str) -> list[int]:
        where = self.daemon.url(f"{MESSAGES}?username=ann")
        return [ask(where, {"text": text})[0] for text in texts]

    def messages(self, query: str) -> Any:
        status, answer = ask(self.daemon.url(f"{MESSAGES}?{query}"))
        self.assertEqual(status, 200, answer)
        return answer

    def texts(self, query: str = "last=1000") -> list[str]:
        return [message["text"] for message in self.messages(query)["messages"]]

    def restart(self) -> None:
        self.daemon.start()
        self.lobby()


class TakenAwayTests(DiskTests):
    def refused(self) -> None:
        self.assertEqual(self.publish("lost"), [503])
        self.assertFalse(self.daemon.is_ready())
        self.assertIn("was deleted, renamed or replaced", self.daemon.log())

    def test_renamed_and_put_back(self) -> None:
        self.assertEqual(self.publish("before"), [201])
        self.path.rename(f"{self.path}.away")
        self.refused()
        Path(f"{self.path}.away").rename(self.path)
        eventually(self.daemon.is_ready)
        self.assertEqual(self.publish("after"), [201])
        self.daemon.stop()
        self.restart()
        self.assertEqual(self.texts(), ["before", "after"])  # refused is refused

    def test_deleted(self) -> None:
        self.path.unlink()
        self.refused()

    def test_replaced(self) -> None:
        shutil.copy(self.path, f"{self.path}.copy")
        os.replace(f"{self.path}.copy", self.path)
        self.refused()

    def test_its_write_ahead_log_deleted(self) -> None:
        Path(f"{self.path}-wal").unlink()
        self.refused()

    def test_its_lock_deleted(self) -> None:
        Path(f"{self.path}.lock").unlink()
        self.refused()

    def test_its_folder_renamed(self) -> None:
        folder, away = self.daemon.folder, Path(f"{self.daemon.folder}.away")
        folder.rename(away)
        try:
            self.assertEqual(self.publish("lost"), [503])
        finally:
            away.rename(folder)

    def test_it_is_noticed_though_nobody_publishes(self) -> None:
        self.path.unlink()
        eventually(lambda: not self.daemon.is_ready(), 10)
        self.assertIn("was deleted, renamed or replaced", self.daemon.log())


class RestoredTests(DiskTests):
    def backup(self, to: Path) -> None:
        source, copy = sqlite3.connect(self.path), sqlite3.connect(to)
        with copy:
            source.backup(copy)
        source.close()
        copy.close()

    def restore(self, copy: Path) -> None:
        """Put it in place of the database of a daemon that is stopped."""
        for end in ("-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)
        shutil.copy(copy, self.path)

    def lost_future(self) -> str:
        """Back up, publish some more, and the cursor then; the daemon is stopped."""
        self.publish("one", "two")
        self.backup(self.daemon.folder / "backup")
        self.publish("three", "four")
        cursor: str = self.messages("last=1")["cursor"]
        eventually(lambda: self.generation() > self.generation(self.daemon.folder / "backup"))
        self.daemon.stop()
        return cursor

    def generation(self, path: Path | None = None) -> int:
        db = sqlite3.connect(path or self.path)
        [number] = db.execute("SELECT generation FROM life").fetchone()
        db.close()
        return int(number)

    def test_a_cursor_from_the_lost_future_is_a_gap(self) -> None:
        cursor = self.lost_future()
        self.restore(self.daemon.folder / "backup")
        self.restart()
        self.publish(*"567890")
        answer = self.messages(f"after={cursor}")
        self.assertTrue(answer["gap"])
        self.assertEqual([m["text"] for m in answer["messages"]], ["one", "two", *"567890"])
        self.assertIn("a backup was restored", self.daemon.log())
        # once told, all goes on as ever
        cursor = answer["cursor"]
        self.daemon.stop()
        self.restart()
        self.publish("more")
        answer = self.messages(f"after={cursor}")
        self.assertEqual((answer["gap"], len(answer["messages"])), (False, 1))

    def test_the_operator_says_so(self) -> None:
        """With the mark restored too, or on another machine, only the operator can know."""
        cursor = self.lost_future()
        self.restore(self.daemon.folder / "backup")
        Path(f"{self.path}.mark").unlink()
        self.daemon.options = ("--restored",)
        self.restart()
        self.publish(*"567890")
        self.assertTrue(self.messages(f"after={cursor}")["gap"])

    def test_a_kill_is_no_restoration(self) -> None:
        self.publish("one")
        for _ in range(3):
            cursor = self.messages("last=0")["cursor"]
            self.publish("more")
            self.daemon.kill()
            self.restart()
            answer = self.messages(f"after={cursor}")
            self.assertEqual((answer["gap"], len(answer["messages"])), (False, 1))

    def test_readers_of_rooms_all_learn_it(self) -> None:
        self.publish("one")
        cursor = self.lost_future()
        self.restore(self.daemon.folder / "backup")
        self.restart()
        status, answer = ask(self.daemon.url(f"{MESSAGES}?before={cursor}"))
        self.assertEqual((status, answer["gap"]), (200, True))


class DamagedTests(DiskTests):
    def test_an_empty_file_where_rooms_were(self) -> None:
        self.publish("one")
        self.daemon.stop()
        self.path.write_bytes(b"")
        self.restart()
        self.assertIn("was empty or gone, where rooms had been kept", self.daemon.log())
        self.assertEqual(self.publish("anew"), [201])

    def test_no_file_where_rooms_were(self) -> None:
        self.publish("one")
        self.daemon.kill()
        size = os.path.getsize(f"{self.path}-wal")
        self.path.unlink()
        self.restart()
        self.assertIn("was empty or gone, where rooms had been kept", self.daemon.log())
        self.assertEqual(os.path.getsize(f"{self.path}-wal.lost"), size)

    def test_a_page_destroyed(self) -> None:
        self.publish(*(f"{n} " + "x" * 3000 for n in range(30)))
        self.daemon.stop()
        size = self.path.stat().st_size
        with self.path.open("r+b") as file:
            file.seek(size - 3 * 4096)
            file.write(b"\xff" * 3 * 4096)
        self.daemon.start()
        eventually(lambda: "is damaged: " in self.daemon.log())

    def test_a_room_s_page_destroyed(self) -> None:
        """The others are served; of this one it is said what is wrong."""
        self.publish(*(f"{n} " + "x" * 3000 for n in range(5)))
        self.daemon.create_room("den")
        self.daemon.stop()
        with self.path.open("r+b") as file:
            file.seek(self.path.read_bytes().index(b"3 xxx") // 4096 * 4096)
            file.write(b"\xff" * 4096)
        self.daemon.start()
        den = self.daemon.url("/rooms/den/messages?username=ann")
        self.assertEqual(ask(den, {"text": "here"})[0], 201)
        for _ in range(3):
            for sent in (None, {"text": "lost"}):
                status, answer = ask(self.daemon.url(f"{MESSAGES}?username=ann"), sent)
                self.assertEqual(status, 503)
                self.assertIn("the database is damaged (see the runbook)", answer["text"])
        self.assertEqual(ask(den, {"text": "still here"})[0], 201)
        self.assertTrue(self.daemon.is_ready())
        self.assertEqual(self.daemon.log().count("is damaged: database disk image"), 1)

    def test_a_good_one_is_said_to_be(self) -> None:
        eventually(lambda: "looked through and well" in self.daemon.log())


@pytest.mark.timeout(120)
class LockTests(DiskTests):
    def test_what_the_lock_s_name_leads_to_is_not_touched(self) -> None:
        self.daemon.stop()
        lock, other = Path(f"{self.path}.lock"), self.daemon.folder / "other"
        other.write_text("precious")
        for plant in (lock.symlink_to, lock.hardlink_to):
            lock.unlink()
            plant(other)
            with self.assertRaisesRegex(Exception, "no plain file of its own"):
                self.daemon.start()
            self.assertEqual(other.read_text(), "precious")
