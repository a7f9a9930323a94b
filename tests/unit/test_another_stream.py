"""The directory's stream has one name for good: a node that comes back to it notices whether it is
the one that it knew."""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Stream
from chatd.directory.directory import Directory
from chatd.protocol.json import dump
from tests.support.followed import Streams
from tests.support.recording import Recorder, body
from tests.support.world import BEGINNING


def created(name: str, epoch: str) -> bytes:
    event = {"op": "create", "room": name, "private": False, "epoch": epoch, "time": 0}
    return dump(event | {"event": f"{name}.{epoch}"})


OLD = [created("lobby", "1"), created("old", "2")]
NEW = [created("lobby", "7"), created("new", "8"), created("other", "9")]


class DirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.streams = Streams()
        self.streams.clock.advance(BEGINNING)
        self.directory = Directory(cast(Any, self.streams), self.streams.clock)

    def begin(self, *records: bytes | None) -> None:
        self.streams.records = list(records)
        self.directory.start()
        self.streams.bring()
        self.assertTrue(self.directory.loaded)

    def lives(self) -> dict[str, str]:
        return {entry.name: entry.stream.epoch for entry in self.directory}

    def becomes(self, *records: bytes | None, at_a_time: int = 100) -> None:
        """The stream has these records when the node comes back."""
        self.streams.records = list(records)
        with capturedLogs() as logs:
            self.streams.come_back()
            before = self.streams.following
            self.streams.bring(at_a_time)
            if self.streams.following is not before:
                self.assertFalse(self.directory.loaded)
                self.streams.bring()
        texts = [str(event.get("log_format")) for event in logs]
        self.begun_again = any("directory stream was deleted" in text for text in texts)
        self.assertTrue(self.directory.loaded)

    def test_a_longer_one_of_the_same_name(self) -> None:
        self.begin(*OLD)
        for at_a_time in (100, 1):
            self.becomes(*NEW, at_a_time=at_a_time)
            self.assertTrue(self.begun_again)
            self.assertEqual(self.lives(), {"lobby": "7", "new": "8", "other": "9"})
            self.becomes(*OLD, OLD[1])
            self.assertTrue(self.begun_again)
            self.assertEqual(self.lives(), {"lobby": "1", "old": "2"})

    def test_the_same_one(self) -> None:
        self.begin(*OLD)
        self.becomes(*OLD, NEW[1])
        self.assertFalse(self.begun_again)
        self.assertEqual(self.lives(), {"lobby": "1", "old": "2", "new": "8"})
        self.becomes(*OLD, NEW[1])
        self.assertFalse(self.begun_again)

    def test_fences_are_alike_in_all(self) -> None:
        self.begin(None, *OLD, None, None)
        same: list[bytes | None] = [None, *OLD, None, None]
        self.becomes(*same)
        self.assertFalse(self.begun_again)
        self.becomes(*same, None, at_a_time=1)
        self.assertFalse(self.begun_again)
        self.becomes(None, *NEW, None, None, None)
        self.assertTrue(self.begun_again)
        self.assertEqual(self.lives(), {"lobby": "7", "new": "8", "other": "9"})

    def test_where_the_newest_record_was_there_is_the_same_one(self) -> None:
        """And after it what was not there."""
        self.begin(*OLD, None)
        self.becomes(*OLD, NEW[1], NEW[2])
        self.assertTrue(self.begun_again)
        self.assertEqual(self.lives(), {"lobby": "1", "old": "2", "new": "8", "other": "9"})

    def test_one_without_a_record(self) -> None:
        self.begin(None)
        self.becomes(None, None)
        self.assertFalse(self.begun_again)
        self.becomes(*NEW)
        self.assertTrue(self.begun_again)
        self.assertEqual(self.lives(), {"lobby": "7", "new": "8", "other": "9"})


class RoomTests(SynchronousTestCase):
    """A room's stream has its life in its name: it goes on where it was."""

    def test_goes_on(self) -> None:
        streams, recorder = Streams(), Recorder()
        recorder.may_call = True
        streams.records = [body("m0", at=0), None]
        streams.follow(Stream("lobby", "1"), 10, recorder)
        streams.bring()
        streams.records.append(body("m1", at=0))
        streams.come_back()
        self.assertEqual(streams.starts, ["last", 1])
        streams.bring()
        self.assertEqual(recorder.ids, ["m0", "m1"])
        self.assertEqual(recorder.calls.count("truncated"), 0)

    def test_a_gap(self) -> None:
        streams, recorder = Streams([body("m0", at=0)]), Recorder()
        recorder.may_call = True
        streams.follow(Stream("lobby", "1"), None, recorder)
        streams.bring()
        streams.first, streams.records = 5, [body("m5", at=0)]
        streams.come_back()
        streams.starts[-1] = 5  # the broker begins with the oldest
        streams.bring()
        self.assertEqual(recorder.calls[-3:], ["truncated", "records", "caught_up"])
