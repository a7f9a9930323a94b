"""The directory's stream has one name for good: a node that comes back to it notices whether it is
the one that it knew."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import IFollower, IFollowing, Stream
from chatd.brokers.rabbitmq.follower import RabbitMQFollowing
from chatd.brokers.rabbitmq.records import FENCE, publish_properties
from chatd.directory.directory import Directory
from chatd.protocol.json import dump
from tests.support.recording import Recorder, body
from tests.support.world import BEGINNING


def created(name: str, epoch: str) -> bytes:
    event = {"op": "create", "room": name, "private": False, "epoch": epoch, "time": 0}
    return dump(event | {"event": f"{name}.{epoch}"})


@define(eq=False)
class Streams:
    """What a following needs of a broker with a stream, whose records (None: a fence) may be
    exchanged for others. It is also the shared channels and the members of one."""

    records: list[bytes | None] = field(factory=list)
    #: The offset of the first of the records.
    first: int = 0
    clock: Clock = field(factory=Clock)
    restored: bool = False
    client: Any = None
    members: set[Any] = field(factory=set)
    #: Where each consumer began.
    starts: list[Any] = field(factory=list)
    following: RabbitMQFollowing | None = None
    wall: Any = None

    @property
    def channels(self) -> Any:
        return self

    def attach(self, consumer: Any, apart: bool) -> Any:
        self.starts.append(consumer._start)
        return self

    def create(self, stream: Stream) -> Deferred[None]:
        return succeed(None)

    def exists(self, stream: Stream) -> Deferred[bool]:
        return succeed(True)

    def leader_changed(self) -> None:
        """Nothing follows from it here."""

    def forget(self, following: RabbitMQFollowing) -> None:
        """Nothing is known of it."""

    def follow(self, stream: Stream, tail: int | None, follower: IFollower) -> IFollowing:
        self.following = RabbitMQFollowing(cast(Any, self), stream, tail, follower)
        self.following.attach()
        return self.following

    def bring(self, at_a_time: int = 100) -> None:
        """The newest consumer gets all from where it began on."""
        following = self.following
        assert following is not None
        start = 0 if self.starts[-1] in ("first", "last") else self.starts[-1] - self.first
        key = (following.stream.room or following.stream.name).encode()
        batch = [
            Delivery(
                self.first + n,
                one or b"",
                FENCE if one is None else publish_properties("m", 0),
                key,
            )
            for n, one in enumerate(self.records)
            if n >= start
        ]
        for n in range(0, len(batch), at_a_time):
            following.delivered(batch[n : n + at_a_time])
        following.caught_up()

    def come_back(self) -> None:
        """The connection was lost, and there is another one."""
        assert self.following is not None
        self.following.lost()
        self.following.attach()


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
