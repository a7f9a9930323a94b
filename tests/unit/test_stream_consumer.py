"""When a consumer of a stream has caught up, by what a broker answers and delivers."""

from __future__ import annotations

from itertools import chain

from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq.consumer import StreamConsumer
from chatd.brokers.rabbitmq.handover import Handover
from chatd.brokers.rabbitmq.records import publish_properties
from chatd.timing.turn_queue import TurnQueue
from tests.support.amqp_server import Server, delivery
from tests.support.consumer_owner import Owner
from tests.support.recording import Recorder, body


class ConsumerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server, self.owner = Server().tuned(), Owner()
        self.channel = self.server.channel()
        self.consumer = StreamConsumer(self.server.client, "q", 0, self.owner, prefetch=3)
        self.consumer.begin(self.channel)
        [(_, _, args)] = self.server.heard()
        self.tag = args["consumer_tag"]
        self.server.client.deliveries.slacken(self.channel.id, 100)
        self.server.say(self.channel.id, "basic.consume-ok", consumer_tag=self.tag)
        self.heard("basic.qos")

    def heard(self, *names: str) -> None:
        """What the consumer asked."""
        self.assertEqual(self.server.names(), list(names))

    def deliver(self, *offsets: int) -> None:
        frames = (delivery(self.channel.id, self.tag, n + 1, b"{}", n) for n in offsets)
        self.server.send(*chain.from_iterable(frames))

    def reply(self) -> None:
        self.server.say(self.channel.id, "basic.qos-ok")

    def test_a_reply_from_before_the_first_delivery(self) -> None:
        """More may be on its way. What has come is acknowledged, which has the broker read on."""
        self.deliver(0)
        self.heard("basic.ack", "basic.qos")
        self.reply()
        self.assertEqual(self.owner.told, [[0]])
        self.reply()
        self.assertEqual(self.owner.told, [[0], "caught up"])

    def test_as_many_as_the_broker_may_deliver_at_once(self) -> None:
        self.deliver(0)
        self.heard("basic.ack", "basic.qos")
        self.reply()
        self.deliver(1, 2, 3)
        self.reply()
        self.heard("basic.ack", "basic.qos")
        self.assertEqual(self.owner.told, [[0], [1, 2, 3]])
        self.deliver(4)
        self.reply()
        self.assertEqual(self.owner.told, [[0], [1, 2, 3], [4], "caught up"])
        self.heard()

    def test_silence(self) -> None:
        self.reply()
        self.heard("basic.qos")
        self.assertEqual(self.owner.told, [])
        self.reply()
        self.assertEqual(self.owner.told, ["silent"])

    def test_closed(self) -> None:
        self.consumer.close()
        self.consumer.close()
        self.heard("basic.cancel")
        self.deliver(0)
        self.reply()
        self.assertEqual(self.owner.told, [])


class ResumingTests(SynchronousTestCase):
    """Where following goes on after an interruption: at the newest record seen, if it is there."""

    def setUp(self) -> None:
        self.follower = Recorder()
        self.follower.may_call = True
        turns = TurnQueue(Server().clock, 1)
        self.handover = Handover(Stream("lobby", "e"), self.follower, turns)
        self.take(0, 1, 2)
        self.assertEqual(self.handover.resume(), 2)

    def take(self, *offsets: int) -> None:
        key, properties = b"lobby", publish_properties("m", 0)
        self.handover.take([Delivery(n, body(f"m{n}"), properties, key) for n in offsets])

    def test_nothing_is_missing(self) -> None:
        for first in (2, 3):
            self.setUp()
            self.take(*range(first, 5))
            self.take(9)  # offsets skip
            self.assertEqual(self.follower.calls, ["records"] * 3)

    def test_what_was_removed_meanwhile(self) -> None:
        self.take(4)
        self.take(9)
        self.assertEqual(self.follower.calls, ["records", "truncated", "records", "records"])
