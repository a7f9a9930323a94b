"""`SQLiteBroker`: the suite over a file, and a process that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import Retention, Stream
from chatd.brokers.sqlite.broker import SQLiteBroker
from tests.contract import broker_suite
from tests.support.recording import ids
from tests.support.sqlite import SQLiteFiles


class SQLiteBrokerSuite(SQLiteFiles, broker_suite.ExactRetentionSuite):
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


class KillTests(SQLiteFiles, TestCase):
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
