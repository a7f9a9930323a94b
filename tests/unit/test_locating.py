"""Finding a time in a stream of RabbitMQ, which only knows when its records were stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq.channel_pool import ChannelPool
from chatd.brokers.rabbitmq.publisher import StreamPublisher
from chatd.brokers.rabbitmq.reader import AHEAD, AHEAD_RECORDS, SKEW, StreamReader
from chatd.timing.turn_queue import TurnQueue
from chatd.timing.wall import WallClock
from tests.support.amqp_server import Server, delivery
from tests.support.recording import body

#: A time, in seconds.
T = 1_000_000


class LocatingTests(SynchronousTestCase):
    def setUp(self) -> None:
        clock = Clock()
        self.server = Server().tuned()
        self.pool = ChannelPool(clock, 1)
        self.pool.connected(self.server.client)
        publisher, turns = cast(StreamPublisher, None), TurnQueue(clock, 1)
        self.reader = StreamReader(WallClock(clock), self.pool, publisher, turns)
        #: From when on records were asked for.
        self.starts: list[float] = []

    def locate(self, time: int, records: Sequence[tuple[int, int]]) -> int:
        """The place of a time in a stream, whose records are given by when they were stored and
        their own times, all in seconds."""
        located: Deferred[int] = self.reader.locate(Stream("r", "1"), time * 1000)
        while heard := self.server.heard():
            for number, name, args in heard:
                if name == "basic.consume":
                    tag, start = args["consumer_tag"], args["arguments"]["x-stream-offset"]
                    self.starts.append(start.timestamp())
                    self.server.say(number, "basic.consume-ok", consumer_tag=tag)
                    self.deliver(number, tag, start.timestamp(), records)
                elif name in ("channel.open", "basic.qos"):
                    self.server.say(number, f"{name}-ok")
        return self.successResultOf(located)

    def deliver(
        self, number: int, tag: str, start: float, records: Sequence[tuple[int, int]]
    ) -> None:
        for n, (stored, time) in enumerate(records):
            if stored >= start:
                self.server.send(
                    *delivery(number, tag, n + 1, body(f"m{n}", at=time * 1000), offset=n)
                )

    def test_what_is_dated_ahead(self) -> None:
        """By another program, or by a node whose clock is fast."""
        records = [(T, T), (T, T + 60), (T + 20, T + 20), (T + 50, T + 50)]
        self.assertEqual(self.locate(T + 30, records), 1)
        self.assertEqual(self.starts, [T + 30 - AHEAD])

    def test_only_what_is_near_where_much_was_said(self) -> None:
        records = [(T, T)] * (AHEAD_RECORDS + 1) + [(T + 60, T + 60), (T + 70, T + 70)]
        self.assertEqual(self.locate(T + 61, records), len(records) - 1)
        self.assertEqual(self.starts, [T + 61 - AHEAD, T + 61 - SKEW])
