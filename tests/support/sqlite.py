"""Brokers on SQLite files of their own."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import Retention, Stream
from chatd.brokers.sqlite.broker import SQLiteBroker
from chatd.brokers.sqlite.schema import connect
from chatd.brokers.sqlite.threads import WorkerThread
from tests.support.recording import body, now


class SQLiteFiles:
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


class FilledTests(SQLiteFiles, TestCase):
    """Tests of one broker, whose one stream has records."""

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

    def hold(self, thread: WorkerThread) -> threading.Event:
        """Keep a thread of the broker from answering until the event is set."""
        held = threading.Event()
        self.addCleanup(held.set)
        thread.post(held.wait)
        return held

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


class limited_files:
    """While it lasts this process can write no file beyond ``size`` bytes: a disk that is full."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, self._before[1]))

    def __exit__(self, *exc: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
