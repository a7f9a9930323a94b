"""Records whose headers cannot be read, so that nothing tells their offsets: they stop nobody."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq.channel_pool import ChannelPool
from chatd.brokers.rabbitmq.consumer import StreamConsumer
from chatd.brokers.rabbitmq.publisher import StreamPublisher
from chatd.brokers.rabbitmq.reader import StreamReader
from chatd.timing.turn_queue import TurnQueue
from chatd.timing.wall import WallClock
from tests.support.amqp_server import Server, delivery
from tests.support.consumer_owner import Owner

FENCE = {"type": "chatd.fence"}


class UnplacedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server().tuned()

    def answer(self) -> str:
        """Answer what is asked until nothing is; the consumer's tag, if one began."""
        tag = ""
        while heard := self.server.heard():
            for channel, name, args in heard:
                if name == "basic.consume":
                    tag = args["consumer_tag"]
                    self.server.say(channel, "basic.consume-ok", consumer_tag=tag)
                    # the stream holds one record
                    self.server.send(*delivery(channel, tag, 1, b"unreadable"))
                elif name in ("basic.qos", "channel.open"):
                    self.server.say(channel, f"{name}-ok")
        return tag

    def test_a_consumer_that_gets_nothing_else_is_silent(self) -> None:
        owner = Owner()
        channel = self.server.channel()
        StreamConsumer(self.server.client, "q", "last", owner).begin(channel)
        tag = self.answer()
        self.assertEqual(owner.told, ["silent"])
        self.server.send(*delivery(channel.id, tag, 2, b"", 8, FENCE))
        self.answer()
        self.assertEqual(owner.told, ["silent", [8], "caught up"])

    def test_the_end_of_a_stream_lies_before_the_fence(self) -> None:
        fences: list[Callable[[], bool]] = []

        async def fence(stream: Stream, done: Callable[[], bool]) -> bool:
            fences.append(done)
            return await Deferred()

        publisher = cast(StreamPublisher, SimpleNamespace(fence=fence))
        pool = ChannelPool(self.server.clock, 1)
        pool.connected(self.server.client)
        reader = StreamReader(
            WallClock(self.server.clock), pool, publisher, TurnQueue(self.server.clock, 1)
        )
        ending = reader.end(Stream("lobby", "e"))
        tag = self.answer()
        self.assertNoResult(ending)
        [done] = fences
        self.assertFalse(done())
        self.server.send(*delivery(1, tag, 2, b"", 8, FENCE))
        self.assertTrue(done())
        self.answer()
        self.assertEqual(self.successResultOf(ending), 7)
