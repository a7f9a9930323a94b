"""RabbitMQ refuses to let a stream be read: it says why, and so do the answer and the log."""

from __future__ import annotations

from typing import Any, cast
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import DIRECTORY, Stream, Unavailable
from chatd.brokers.rabbitmq.hosting import AT_FIRST
from chatd.brokers.rabbitmq.shared_channels import TELLING, SharedChannels
from chatd.rooms.follower import PATIENCE, RoomFollower
from tests.support.followed import Streams
from tests.support.recording import Recorder

WHY = "NOT_FOUND - stream queue '{}' does not have a running replica on the local node"


class UnreadableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.streams = Streams()

    def refuse(self, why: str, seconds: float) -> None:
        """The broker refuses for some time."""
        for _ in range(int(seconds * 10)):
            following = self.streams.following
            assert following is not None
            if following._consumer is not None:
                following._consumer.broken(why)
            self.streams.clock.advance(0.1)

    def test_who_comes_to_a_room_is_told_why(self) -> None:
        stream = Stream("lobby", "1")
        node = mock.Mock(clock=self.streams.clock, broker=self.streams)
        node.retention.size = 1000
        follower = RoomFollower(stream, cast(Any, node), mock.Mock(), mock.Mock())
        attached: Deferred[None] = follower.attach()
        self.refuse(WHY.format(stream.name), PATIENCE + 1)
        self.assertEqual(
            str(self.failureResultOf(attached, Unavailable).value), WHY.format(stream.name)
        )
        again = follower.attach()
        assert self.streams.following is not None
        self.streams.following.lost()
        self.streams.clock.advance(PATIENCE)
        self.assertEqual(str(self.failureResultOf(again, Unavailable).value), "")

    def test_the_host_is_left_for_that_reason(self) -> None:
        self.streams.follow(DIRECTORY, None, Recorder())
        why = WHY.format(DIRECTORY.name)
        self.refuse(why, 3 * AT_FIRST)
        self.assertEqual(
            self.streams.left[:1], [f"this host of RabbitMQ does not serve {DIRECTORY.name}: {why}"]
        )

    def test_the_log_says_so_once_for_all_streams(self) -> None:
        """And not where there is a new leader in a moment."""
        channels = SharedChannels(mock.Mock())
        with capturedLogs() as events:
            for room in ("one", "two"):
                name = Stream(room, "1").name
                for times in range(1, TELLING):
                    channels.refused(name, times, WHY.format(name))
            self.assertEqual(events, [])
            for room in ("one", "two"):
                name = Stream(room, "1").name
                for times in range(TELLING, TELLING + 3):
                    channels.refused(name, times, WHY.format(name))
        name = Stream("one", "1").name
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"{name} cannot be read: {WHY.format(name)}"],
        )
