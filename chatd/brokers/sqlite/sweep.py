"""Removing what has expired, or was deleted."""

from __future__ import annotations

import sqlite3

from attrs import define, field
from twisted.logger import Logger

from chatd.brokers.interfaces import Retention
from chatd.brokers.sqlite.damage import is_damage
from chatd.brokers.sqlite.reader import Reader
from chatd.brokers.sqlite.threads import WorkerThread
from chatd.brokers.sqlite.writer import SQLiteWriter


@define(eq=False)
class Sweep:
    """Clears up the database ``path`` in pieces, so that commits need not wait long. What a damaged
    page keeps of one stream stays; the others are cleared up."""

    path: str
    retention: Retention
    reading: WorkerThread
    reader: Reader
    writing: WorkerThread
    writer: SQLiteWriter
    _stopped: bool = field(default=False, init=False)
    _damaged: set[int] = field(factory=set, init=False)
    _failing: bool = field(default=False, init=False)
    _log = Logger()

    async def run(self, oldest: int) -> None:
        """Clear up until nothing is left to do, or `stop` is called. ``oldest`` is the time
        (milliseconds since the epoch) before which records have expired. If it cannot be done,
        that is logged, once until it can."""
        try:
            await self._remove(oldest)
        except sqlite3.Error as e:
            if not self._failing:
                self._log.warn("cannot clear up {path}: {fault}", path=self.path, fault=e)
            self._failing = True
        else:
            self._failing = False

    async def _remove(self, oldest: int) -> None:
        for id in await self.reading.call(self.reader.overdue, self.retention, oldest):
            await self._trim(id, oldest)
        while not self._stopped and await self.writing.call(self.writer.vacuum):
            pass

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True

    async def _trim(self, stream_id: int, oldest: int) -> None:
        try:
            while not self._stopped and await self.writing.call(
                self.writer.trim, stream_id, oldest
            ):
                pass
        except sqlite3.Error as e:
            if not is_damage(e):
                raise
            if stream_id not in self._damaged:
                self._damaged.add(stream_id)
                self._log.warn(
                    "cannot clear up a stream of {path}: {fault}", path=self.path, fault=e
                )
