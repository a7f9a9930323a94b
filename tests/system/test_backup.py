"""The commands of docs/backup.rst, run as they stand."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any
from unittest import TestCase

import pytest

from tests.support.asking import ask
from tests.support.daemon import ROOT, Daemon
from tests.support.examples import blocks
from tests.support.rabbit import Node

MESSAGES = "/rooms/lobby/messages"
TEXT = (ROOT / "docs" / "backup.rst").read_text()


def commands(chapter: str, number: int) -> list[str]:
    """The lines of a literal block of the chapter, counted from 0."""
    section = TEXT.partition(f"\n{chapter}\n--")[2].partition("\n--")[0]
    return blocks(section)[number].text.splitlines()


class Restoring(TestCase):
    daemon: Daemon

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while ask(self.daemon.url("/rooms/lobby"))[0] != 200 or not self.daemon.is_ready():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def publish(self, *texts: str) -> None:
        for text in texts:
            deadline = time.monotonic() + 60
            body = {"text": text, "id": text}
            while ask(self.daemon.url(f"{MESSAGES}?username=ann"), body)[0] not in (200, 201):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.2)

    def messages(self, query: str) -> Any:
        status, answer = ask(self.daemon.url(f"{MESSAGES}?{query}"))
        self.assertEqual(status, 200, answer)
        return answer

    def goes_on(self, cursor: str) -> None:
        """New messages follow what was backed up; who was at ``cursor`` learns that there is a
        gap."""
        self.publish("five", "six", "seven")
        answer = self.messages(f"after={cursor}")
        self.assertTrue(answer["gap"])
        texts = [message["text"] for message in answer["messages"]]
        self.assertEqual(texts, ["one", "two", "five", "six", "seven"])

    def run_lines(self, lines: list[str], folder: Path) -> None:
        for line in lines:
            subprocess.run(["sh", "-c", line], cwd=folder, check=True, capture_output=True)


class SQLiteTests(Restoring):
    def test_backed_up_while_it_runs_and_restored(self) -> None:
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)
        self.wait()
        self.publish("one", "two")
        self.run_lines(commands("SQLite", 0), self.daemon.folder)
        self.publish("three", "four")
        cursor = self.messages("last=1")["cursor"]
        time.sleep(2.5)  # "noticed from two seconds after the backup"
        self.daemon.stop()
        self.run_lines(commands("SQLite", 1), self.daemon.folder)
        self.daemon.start()
        self.wait()
        self.goes_on(cursor)


@pytest.mark.rabbitmq
@pytest.mark.timeout(240)
class RabbitMQTests(Restoring):
    def setUp(self) -> None:
        self.rabbit = Node().start()
        self.addCleanup(self.rabbit.close)

    def as_root(self, lines: list[str]) -> None:
        """Run what an operator would, on the test's own node."""
        for line in lines:
            if line == "systemctl stop rabbitmq-server":
                self.rabbit.stop()
            elif line == "systemctl start rabbitmq-server":
                self.rabbit.start()
            elif line.startswith("rabbitmqctl "):
                inside = self.rabbit.home.inside(self.rabbit.folder)
                self.rabbit.ctl(*line.split()[1:-1], f"{inside}/definitions.json")
            else:
                line = line.replace("/var/lib/rabbitmq", str(self.rabbit.folder))
                self.run_lines([line.replace("mnesia", "data")], self.rabbit.folder)

    def test_backed_up_and_restored(self) -> None:
        self.daemon = Daemon(broker=self.rabbit.url())
        self.addCleanup(lambda: self.daemon.close())
        self.wait()
        self.publish("one", "two")
        self.as_root(commands("RabbitMQ", 0))
        self.as_root(commands("RabbitMQ", 1))
        self.wait()
        self.publish("three", "four")
        cursor = self.messages("last=1")["cursor"]
        self.daemon.stop()
        self.rabbit.stop()
        self.as_root(commands("RabbitMQ", 2))
        self.daemon.options = ("--restored",)
        self.daemon.start()
        self.wait()
        self.goes_on(cursor)
