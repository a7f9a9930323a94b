"""What the follower of a stream on RabbitMQ is told, and how often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import DIRECTORY, Stream
from chatd.brokers.rabbitmq.following import RabbitMQFollowing
from chatd.brokers.rabbitmq.following_broker import FollowingBroker
from chatd.brokers.rabbitmq.handover import Handover
from chatd.brokers.rabbitmq.records import SLICE, publish_properties
from chatd.brokers.rabbitmq.shared_channels import SharedChannels
from chatd.timing.turn_queue import TurnQueue
from tests.support.amqp_server import Server, delivery
from tests.support.recording import Recorder, body


class InterruptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.follower = Recorder()
        self.follower.may_call = True
        self.handover = Handover(Stream("lobby", "e"), self.follower, TurnQueue(Clock(), 1))
        self.handover.level()

    def told(self) -> list[str]:
        """What it was told since the last time."""
        told = self.follower.calls[:]
        self.follower.calls.clear()
        return told

    def test_once(self) -> None:
        self.handover.interrupted()
        self.handover.interrupted()
        self.handover.refresh()
        self.assertEqual(self.told(), ["caught_up", "interrupted"])
        self.handover.level()
        self.handover.level()
        self.assertEqual(self.told(), ["caught_up"])

    def test_once_more_if_the_broker_goes_away_while_the_stream_is_read_anew(self) -> None:
        self.handover.refresh()
        self.handover.refresh()
        self.assertEqual(self.told(), ["caught_up", "interrupted"])
        self.handover.interrupted()
        self.handover.interrupted()
        self.assertEqual(self.told(), ["interrupted"])
        self.handover.level()
        self.assertEqual(self.told(), ["caught_up"])

    def test_read_anew(self) -> None:
        self.handover.refresh()
        self.handover.level()
        self.assertEqual(self.told(), ["caught_up", "interrupted", "caught_up"])

    def test_nothing_after_the_end(self) -> None:
        self.handover.stop()
        self.handover.refresh()
        self.handover.interrupted()
        self.assertEqual(self.told(), ["caught_up"])

    def test_read_anew_while_much_waits_for_its_turn(self) -> None:
        """What is told stays in its place among the records."""
        clock = Clock()
        self.handover = Handover(Stream("lobby", "e"), self.follower, TurnQueue(clock, 1))
        properties = publish_properties("m", 0)
        self.handover.take(
            [Delivery(n, body(f"m{n}"), properties, b"lobby") for n in range(2 * SLICE)]
        )
        self.handover.level()
        self.handover.refresh()
        self.handover.level()
        self.handover.interrupted()
        self.told()
        clock.pump([0] * 3)
        self.assertEqual(self.told(), [*["records"] * 2, *["caught_up", "interrupted"] * 2])

    def test_what_is_missing_from_the_beginning(self) -> None:
        """Of a room that is retention's work; of the directory rooms are missing."""
        for stream, first, expected in (
            (Stream("lobby", "e"), 7, ["records"]),
            (DIRECTORY, 7, ["truncated", "records"]),
            (DIRECTORY, 0, ["records"]),
        ):
            follower = Recorder()
            follower.may_call = True
            handover = Handover(stream, follower, TurnQueue(Clock(), 1))
            key = (stream.room or stream.name).encode()
            properties = publish_properties("m", 0)
            for offset in (first, first + 1):
                handover.take([Delivery(offset, body("m"), properties, key)])
            self.assertEqual(follower.calls, [*expected, "records"], (stream, first))

    def test_by_a_following(self) -> None:
        server = Server().tuned()
        broker = SimpleNamespace(
            clock=server.clock,
            channels=SharedChannels(server.client),
            turns=TurnQueue(server.clock, 1),
        )
        following = RabbitMQFollowing(
            cast(FollowingBroker, broker), Stream("lobby", "e"), None, self.follower
        )
        self.told()

        def answer() -> None:
            """Answer what is asked until nothing is; the stream holds one fence."""
            while heard := server.heard():
                for channel, name, args in heard:
                    if name == "basic.consume":
                        tag = args["consumer_tag"]
                        server.say(channel, "basic.consume-ok", consumer_tag=tag)
                        fence = {"type": "chatd.fence"}
                        server.send(*delivery(channel, tag, 1, b"", 0, fence))
                    elif name in ("basic.qos", "channel.open"):
                        server.say(channel, f"{name}-ok")

        following.attach()
        answer()
        self.assertEqual(self.told(), ["caught_up"])
        following.refresh()
        self.assertEqual(self.told(), ["interrupted"])
        following.lost()
        self.assertEqual(self.told(), ["interrupted"])
        following.attach()
        answer()
        self.assertEqual(self.told(), ["caught_up"])
