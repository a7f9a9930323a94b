"""Tasks that wait for a channel, when RabbitMQ is slow or the connection to it is lost."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.client import Client
from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import Stream, Unavailable
from chatd.brokers.rabbitmq import channel_pool
from chatd.brokers.rabbitmq.broker import AMQPBroker
from chatd.brokers.rabbitmq.channel_pool import PATIENCE, ChannelPool
from chatd.brokers.rabbitmq.publisher import StreamPublisher
from chatd.brokers.rabbitmq.reader import StreamReader
from chatd.timing.turn_queue import TurnQueue
from chatd.timing.wall import WallClock
from tests.support.amqp_server import Server
from tests.support.recording import Recorder

#: More than Python's stack holds, if each ends inside the other.
MANY = 2000

LOBBY = Stream("lobby", "e")


async def opened() -> SimpleNamespace:
    return SimpleNamespace(closed=False)


def abandoned(channel: object) -> None:
    """The channel is closed."""


def connection() -> Client:
    return cast(Client, SimpleNamespace(ended=False, open_channel=opened, abandon=abandoned))


class ChannelPoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = ChannelPool(self.clock, 1)
        self.pool.connected(connection())

    async def never(self, client: Client, channel: Any) -> None:
        await Deferred()

    async def at_once(self, client: Client, channel: Any) -> str:
        return await succeed("done")

    def test_the_connection_is_lost_while_many_wait(self) -> None:
        tasks = [self.pool.run(self.never) for _ in range(MANY)]
        self.pool.lost()
        for task in tasks:
            self.failureResultOf(task, Unavailable)
        self.pool.connected(connection())
        self.assertEqual(self.successResultOf(self.pool.run(self.at_once)), "done")

    def test_many_tasks_that_end_at_once(self) -> None:
        first: Deferred[None] = Deferred()

        async def waiting(client: Client, channel: Any) -> None:
            await first

        self.pool.run(waiting)
        tasks = [self.pool.run(self.at_once) for _ in range(MANY)]
        first.callback(None)
        self.assertEqual({self.successResultOf(task) for task in tasks}, {"done"})

    def test_where_there_are_no_more_what_is_idle_is_given_to_others(self) -> None:
        server = Server().tuned(channel_max=1)
        self.pool.connected(server.client)
        first = self.pool.run(self.at_once)
        server.say(1, "channel.open-ok")
        self.assertEqual(self.successResultOf(first), "done")
        other = ChannelPool(self.clock, 1)
        other.short = self.pool.give_back
        other.connected(server.client)
        self.failureResultOf(other.run(self.at_once), Unavailable)
        server.say(1, "channel.close-ok")
        again = other.run(self.at_once)
        server.say(1, "channel.open-ok")
        self.assertEqual(self.successResultOf(again), "done")

    def test_a_broker_that_is_slow_to_open_channels(self) -> None:
        server = Server().tuned(channel_max=1)
        self.pool.connected(server.client)
        late = self.pool.run(self.never)
        self.clock.advance(PATIENCE)
        self.failureResultOf(late, Unavailable)
        server.say(1, "channel.open-ok")
        server.say(1, "channel.close-ok")
        done = self.pool.run(self.at_once)
        server.say(1, "channel.open-ok")
        self.assertEqual(self.successResultOf(done), "done")

    def test_a_task_that_takes_too_long_keeps_no_channel(self) -> None:
        """Nor does one that fails; another one may have the number then, and nobody else's."""
        server = Server().tuned(channel_max=1)
        self.pool.connected(server.client)
        late = self.pool.run(self.never)
        server.say(1, "channel.open-ok")
        self.clock.advance(PATIENCE)
        self.failureResultOf(late, Unavailable)
        self.assertEqual(server.names(), ["channel.open", "channel.close"])
        server.say(1, "channel.close-ok")
        done = self.pool.run(self.at_once)
        server.say(1, "channel.open-ok")
        self.assertEqual(self.successResultOf(done), "done")
        self.assertEqual(self.pool._running, {})

    def test_a_task_that_is_garbage_asks_for_nothing(self) -> None:
        server = Server().tuned()
        self.pool.connected(server.client)
        opening = self.pool._run(self.never)
        waiting = opening.send(None)
        server.say(1, "channel.open-ok")
        self.assertTrue(waiting.called)
        opening.send(None)
        self.assertEqual(server.names(), ["channel.open"])
        opening.close()
        self.assertEqual(server.names(), [])

    def test_what_ends_after_its_connection_leaves_no_channel_to_the_next(self) -> None:
        """Nor one that was closed meanwhile."""
        for closed in (True, False):
            end: Deferred[None] = Deferred()

            async def ending(client: Client, channel: Any, end: Deferred[None] = end) -> str:
                channel.closed = closed
                await end
                return "done"

            running = self.pool.run(ending)
            if not closed:
                self.pool.connected(connection())
            end.callback(None)
            self.assertEqual(self.successResultOf(running), "done")
            self.assertEqual(self.pool._free, [])

    def test_the_broker_closes_a_channel_that_nobody_uses(self) -> None:
        server = Server().tuned()
        self.pool.connected(server.client)
        for number in (1, 2):
            done = self.pool.run(self.at_once)
            self.assertEqual(server.heard()[-1][:2], (number, "channel.open"))
            server.say(number, "channel.open-ok")
            self.assertEqual(self.successResultOf(done), "done")
            server.say(number, "channel.close", reply_code=541, reply_text="INTERNAL_ERROR")

    def test_the_broker_closes_the_channel_of_one_that_begins_to_read(self) -> None:
        """That is an answer for who asked, and no unhandled error in the log."""
        server = Server().tuned()
        self.pool.connected(server.client)
        publisher, turns = cast(StreamPublisher, None), TurnQueue(self.clock, 1)
        reader = StreamReader(WallClock(self.clock), self.pool, publisher, turns)
        newest = reader.newest(Stream("lobby", "e"))
        server.say(1, "channel.open-ok")
        server.say(1, "channel.close", reply_code=541, reply_text="INTERNAL_ERROR")
        self.failureResultOf(newest, Unavailable)
        del newest
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_too_many_wait(self) -> None:
        self.patch(channel_pool, "WAITING", 2)
        self.pool = ChannelPool(self.clock, 1)
        self.pool.connected(connection())
        tasks = [self.pool.run(self.never) for _ in range(4)]
        self.failureResultOf(tasks[-1], Unavailable)
        self.assertNoResult(tasks[-2])

    def test_all_channels_of_the_connection_are_in_use(self) -> None:
        server = Server().tuned(channel_max=1)
        server.channel()
        self.pool.connected(server.client)
        refused = self.failureResultOf(self.pool.run(self.at_once), Unavailable)
        self.assertIn("1 channels", str(refused.value))


class ShortageTests(SynchronousTestCase):
    """The broker allows too few channels."""

    def setUp(self) -> None:
        self.server = Server().tuned(channel_max=2)  # one of them is for presence
        self.broker = AMQPBroker(self.server.clock, BrokerURL.parse("amqp://127.0.0.1"))
        connecting = Deferred.fromCoroutine(self.broker._connected(self.server.client))
        self.server.answer()
        self.successResultOf(connecting)

    def test_a_room_is_read_on_what_nothing_uses(self) -> None:
        found = self.broker.exists(LOBBY)
        self.server.answer()
        self.assertTrue(self.successResultOf(found))
        with capturedLogs() as events:
            following = self.broker.follow(LOBBY, None, Recorder())
            self.assertIn("channel.close", self.server.answer())
        self.assertTrue(any("Rooms wait for a channel" in e["log_format"] for e in events))
        self.server.clock.pump([0.1] * 5)
        self.assertIn("channel.open", self.server.answer())
        following.stop()
