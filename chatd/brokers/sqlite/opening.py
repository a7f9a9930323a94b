"""Opening a database, and starting the threads that use it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from chatd.brokers.interfaces import Retention, Stream
from chatd.brokers.sqlite.batch import Changes
from chatd.brokers.sqlite.checkup import Checkup
from chatd.brokers.sqlite.lineage import Lineage
from chatd.brokers.sqlite.lock import Lock, cannot_begin
from chatd.brokers.sqlite.quarantine import Quarantine
from chatd.brokers.sqlite.reader import Reader
from chatd.brokers.sqlite.schema import prepare
from chatd.brokers.sqlite.sweep import Sweep
from chatd.brokers.sqlite.threads import GroupCommit, WorkerThread
from chatd.brokers.sqlite.writer import SQLiteWriter


@frozen
class Opened:
    """An open database, with its threads."""

    lock: Lock
    writer: SQLiteWriter
    reader: Reader
    writing: WorkerThread
    reading: WorkerThread
    commits: GroupCommit
    checking: WorkerThread
    checkup: Checkup
    lineage: Lineage
    sweep: Sweep


def open_database(
    reactor: Any,
    path: str,
    retention: Retention,
    committed: Callable[[Changes], None],
    in_doubt: Callable[[Iterable[Stream]], None],
) -> Opened:
    """Open the database ``path``, and begin to check it in the background. ``committed`` and
    ``in_doubt`` are called as `GroupCommit` says. Raises `StartError`."""
    lock = Lock(path)
    try:
        lineage = Lineage(path)
        prepare(path)
        writer, reader, checkup = SQLiteWriter(path, retention), Reader(path), Checkup(path)
        lineage.begin(writer)
    except sqlite3.Error as e:
        lock.release()
        raise cannot_begin(path, e) from None
    except BaseException:
        lock.release()
        raise
    writing, reading = WorkerThread(reactor, "chatd-write"), WorkerThread(reactor, "chatd-read")
    commit = Quarantine(writer.commit).commit
    commits = GroupCommit(reactor, writing, commit, committed, in_doubt)
    checking = WorkerThread(reactor, "chatd-check")
    checking.post(checkup.run)
    sweep = Sweep(path, retention, reading, reader, writing, writer)
    return Opened(
        lock, writer, reader, writing, reading, commits, checking, checkup, lineage, sweep
    )
