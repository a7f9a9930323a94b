"""Streams that a damaged page holds up, in commits of several."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from unittest import TestCase

from chatd.brokers.interfaces import Record, Stream
from chatd.brokers.sqlite.batch import Append, Changes, InDoubt, Work
from chatd.brokers.sqlite.damage import NoNumbers
from chatd.brokers.sqlite.quarantine import Quarantine

DAMAGED, ANN, BOB = (Stream(name, "e") for name in ("damaged", "ann", "bob"))


class QuarantineTests(TestCase):
    def setUp(self) -> None:
        self.commits: list[list[str]] = []
        self.damaged = {DAMAGED}
        self.full: set[Stream] = set()
        self.quarantine = Quarantine(self.together)

    def together(self, batch: Sequence[Work]) -> Changes:
        streams = [work.stream for work in batch]
        self.commits.append([stream.room for stream in streams])
        if self.damaged.intersection(streams):
            raise NoNumbers("the database is damaged")
        if self.full.intersection(streams):
            raise sqlite3.OperationalError("database or disk is full")
        return [(stream, [Record(0, b"")]) for stream in streams]

    def commit(self, *streams: Stream) -> list[Stream]:
        """Commit a record to each; those that were stored, by the changes, and not refused."""
        batch = [Append(stream, b"", 0) for stream in streams]
        changes = self.quarantine.commit(batch)
        stored = [stream for stream, _ in changes]
        self.assertEqual(stored, [work.stream for work in batch if work.error is None])
        return stored

    def test_one_that_failed_alone_stays_apart(self) -> None:
        self.assertEqual(self.commit(ANN, DAMAGED, BOB), [ANN, BOB])
        self.assertEqual(self.commits[1:], [["ann"], ["damaged"], ["bob"]])
        self.commits.clear()
        self.assertEqual(self.commit(ANN, DAMAGED, BOB), [ANN, BOB])
        self.assertEqual(self.commits, [["ann", "bob"], ["damaged"]])

    def test_one_that_can_be_written_again_is_with_the_others(self) -> None:
        self.commit(DAMAGED)
        self.damaged.clear()
        self.assertEqual(self.commit(ANN, DAMAGED), [ANN, DAMAGED])
        self.commits.clear()
        self.commit(ANN, DAMAGED)
        self.assertEqual(self.commits, [["ann", "damaged"]])

    def test_a_disk_that_is_full_when_some_are_stored(self) -> None:
        """All are refused, so it is said of which that may be wrong."""
        self.full.add(BOB)
        with self.assertRaises(InDoubt) as raised:
            self.commit(ANN, DAMAGED, BOB)
        self.assertEqual(raised.exception.streams, {ANN})

    def test_a_disk_that_is_full_when_none_is_stored(self) -> None:
        self.full.add(ANN)
        with self.assertRaises(sqlite3.OperationalError):
            self.commit(ANN, DAMAGED, BOB)
