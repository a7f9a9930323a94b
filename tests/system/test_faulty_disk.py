"""A disk that fails one write or many, is read-only, or slow; and no descriptors left: bounded,
told, and nothing that was acknowledged is lost."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any
from unittest import TestCase, mock

import pytest

from tests.support.asking import ask
from tests.support.daemon import Daemon
from tests.support.faulty_disk import FaultyDisk

MESSAGES = "/rooms/lobby/messages"
#: Seconds within which any publish is answered, and a disk that is well again is used again.
BOUND = 15.0


@pytest.mark.timeout(120)
class FaultyDiskTests(TestCase):
    def setUp(self) -> None:
        self.disk = FaultyDisk()
        self.addCleanup(self.disk.close)
        self.daemon = Daemon("--rate=10000/s", env=self.disk.env)
        self.addCleanup(self.daemon.close)
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.until(lambda: ask(self.daemon.url("/rooms/lobby"))[0] == 200)

    def until(self, condition: Any, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.daemon.log()[-2000:])
            time.sleep(0.05)

    def publish(self, count: int = 1) -> None:
        """Publish so many, each once; note how that went."""
        for _ in range(count):
            id = f"m{len(self.acknowledged) + len(self.refused)}"
            began = time.monotonic()
            where = self.daemon.url(f"{MESSAGES}?username=ann")
            status, answer = ask(where, {"text": id, "id": id})
            self.assertLess(time.monotonic() - began, BOUND)
            if status == 201:
                self.acknowledged.append(id)
                continue
            self.assertEqual((status, answer["code"], answer["id"]), (503, "unavailable", id))
            self.refused.append(id)

    def works_again(self) -> None:
        count = len(self.acknowledged)
        self.disk.say("")
        self.until(lambda: self.daemon.is_ready())
        self.publish(20)
        self.assertEqual(len(self.acknowledged), count + 20)

    def nothing_is_lost(self) -> None:
        """Now, and after the process was killed."""
        self.all_is_there()
        self.daemon.kill()
        self.daemon.start()
        self.until(lambda: ask(self.daemon.url("/rooms/lobby"))[0] == 200)
        self.all_is_there()
        self.assertNotIn("Traceback", self.daemon.log())

    def all_is_there(self) -> None:
        answer = ask(self.daemon.url(f"{MESSAGES}?last=1000"))[1]
        ids = [message["id"] for message in answer["messages"]]
        self.assertEqual(len(ids), len(set(ids)))
        # what was refused may have been stored; it was not said that it was not
        self.assertEqual([id for id in ids if id not in self.refused], self.acknowledged)

    def says_so(self, full: bool) -> None:
        """A full disk is like an alarm of RabbitMQ: all can be read, so the node stays ready."""
        status, answer = ask(self.daemon.url("/readyz"))
        self.assertEqual(status, 200 if full else 503)
        self.assertEqual(answer.get("publishing"), "database or disk is full" if full else None)

    def test_one_call_that_fails(self) -> None:
        for fault in ("write ENOSPC 1", "write EIO 1", "sync EIO 1", "sync ENOSPC 1"):
            with self.subTest(fault):
                self.publish(5)
                self.disk.say(fault)
                self.publish(20)
                self.works_again()
        self.assertGreater(len(self.refused), 0)
        self.assertIn("nothing can be stored", self.daemon.log())
        self.assertIn("records can be stored again", self.daemon.log())
        self.nothing_is_lost()

    def test_all_calls_fail(self) -> None:
        for fault in ("write ENOSPC 1000000", "write EROFS 1000000", "sync EIO 1000000"):
            with self.subTest(fault):
                self.publish(5)
                self.disk.say(fault)
                before = len(self.refused)
                self.publish(5)
                self.assertEqual(len(self.refused), before + 5)
                self.says_so(full="ENOSPC" in fault)
                self.assertEqual(ask(self.daemon.url(f"{MESSAGES}?last=5"))[0], 200)
                self.works_again()
        self.nothing_is_lost()

    def test_a_start_on_a_full_disk(self) -> None:
        """It serves reading, as a running one does."""
        self.publish(3)
        self.daemon.kill()
        self.disk.say("write ENOSPC 1000000")
        lobby = self.daemon.url(f"{MESSAGES}?last=5")
        self.patch_ready(lobby)
        self.daemon.start()
        self.all_is_there()
        self.publish(1)
        self.assertEqual(len(self.refused), 1)
        self.says_so(full=True)
        self.assertIn("nothing can be stored: database or disk is full", self.daemon.log())
        self.works_again()
        self.nothing_is_lost()

    def patch_ready(self, where: str) -> None:
        """Let a start count that can be read from."""

        def answers() -> bool:
            with suppress(OSError):
                return ask(where)[0] == 200
            return False

        self.enterContext(mock.patch.object(self.daemon, "_ready", answers))

    def test_a_slow_disk(self) -> None:
        self.disk.say("sync slow 400")
        self.publish(5)
        self.assertEqual(self.refused, [])
        self.disk.say("sync slow 14000")
        self.publish(2)
        self.assertEqual(len(self.refused), 2)
        self.assertFalse(self.daemon.is_ready())
        began = time.monotonic()
        self.assertEqual(ask(self.daemon.url("/healthz"))[0], 200)
        self.assertLess(time.monotonic() - began, 5)
        self.assertIn("is the disk well?", self.daemon.log())
        self.works_again()
        self.nothing_is_lost()


@pytest.mark.timeout(120)
class DescriptorTests(TestCase):
    def test_no_descriptors_left(self) -> None:
        """Who is connected goes on; who comes is refused; when some are free again all is well."""
        daemon = Daemon("--rate=10000/s", descriptors=64)
        self.addCleanup(daemon.close)
        where = daemon.url(f"{MESSAGES}?username=ann")
        deadline = time.monotonic() + 30
        while ask(where, {"text": "before"})[0] != 201:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        held = [socket.create_connection(daemon.http, 10) for _ in range(120)]
        time.sleep(3)
        for client in held:
            client.close()
        deadline = time.monotonic() + 30
        while True:
            try:
                if ask(where, {"text": "after"}, 5)[0] == 201:
                    break
            except OSError:
                pass
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertLess(len(daemon.log()), 500_000)
        self.assertTrue(daemon.is_ready())
        self.assertNotIn("Traceback", daemon.log())
