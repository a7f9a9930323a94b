"""`AMQPBroker` on a real RabbitMQ node: the suite, and what is RabbitMQ's own."""

from __future__ import annotations

import re
from unittest import mock

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import (
    DIRECTORY,
    NameTooLong,
    Retention,
    Stream,
    Unavailable,
)
from chatd.brokers.rabbitmq import following as amqp_following
from chatd.brokers.rabbitmq import liveness
from chatd.brokers.rabbitmq.broker import AMQPBroker
from chatd.brokers.rabbitmq.following import RabbitMQFollowing
from chatd.errors import StartError
from tests.contract import broker_suite
from tests.support.rabbit import shared_node
from tests.support.rabbit_home import free_port
from tests.support.recording import body, named
from tests.support.tunnel import Tunnel
from tests.support.waiting import pause, until

pytestmark = pytest.mark.rabbitmq


#: Erlang: unbind all queues from the presence exchange of a virtual host; name all queues there.
_UNBIND = (
    'X = rabbit_misc:r(<<"{}">>, exchange, <<"chatd.presence">>), '
    '[rabbit_binding:remove(B, <<"test">>) || B <- rabbit_binding:list_for_source(X)]'
)
_QUEUES = '[rabbit_misc:rs(amqqueue:get_name(Q)) || Q <- rabbit_amqqueue:list(<<"{}">>)]'


class AMQPBrokerSuite(broker_suite.BrokerSuite):
    __test__ = True

    def setUp(self) -> None:
        self.node = shared_node()
        self.vhost = self.node.vhost()
        self.addCleanup(self.node.drop_vhost, self.vhost)
        self.tunnels: dict[AMQPBroker, Tunnel] = {}

    async def connect(self, port: int, retention: Retention | None = None) -> AMQPBroker:
        url = BrokerURL.parse(f"amqp://guest:guest@127.0.0.1:{port}/{self.vhost}")
        broker = AMQPBroker(reactor, url, retention)
        broker.startService()
        await until(lambda: broker.ready)
        return broker

    async def make_broker(self, retention: Retention | None = None) -> AMQPBroker:
        tunnel = Tunnel(self.node.port)
        self.addCleanup(tunnel.cut)
        broker = await self.connect(tunnel.listen(), retention)
        self.addCleanup(broker.stopService)
        self.tunnels[broker] = tunnel
        return broker

    async def interrupt(self, broker: AMQPBroker) -> None:
        await self.tunnels[broker].cut()

    async def resume(self, broker: AMQPBroker) -> None:
        self.tunnels[broker].listen()

    async def elsewhere(self, broker: AMQPBroker) -> AMQPBroker:
        return await self.connect(self.node.port)

    async def leave(self, other: AMQPBroker) -> None:
        await other.stopService()

    async def truncate(self, other: AMQPBroker, stream: Stream, before: int) -> None:
        number = 0
        while (await self.all_of(other, stream))[0].offset < before:
            number += 1
            await other.append(stream, body(f"big{number}", "x" * 15_000), f"big{number}", 0)

    async def test_a_consumer_that_was_left_behind_without_a_word(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        recorder = await self.followed(broker, stream)
        following = recorder.following
        assert isinstance(following, RabbitMQFollowing)
        assert following._consumer is not None
        following._consumer.close()
        await self.fill(broker, stream, 0, 3)
        self.assertEqual(recorder.ids, [])
        following.refresh()
        await until(lambda: len(recorder.ends) == 2)
        self.assertEqual(recorder.ids, ["m0", "m1", "m2"])

    async def test_one_that_only_reads_is_not_left_behind_for_long(self) -> None:
        self.patch(liveness, "LATE", 0.2)
        broker, other = await self.make_broker(), await self.make_broker()
        streams = [await self.created(broker) for _ in range(3)]
        recorders = [await self.followed(broker, stream) for stream in streams]
        for recorder in recorders:
            following = recorder.following
            assert isinstance(following, RabbitMQFollowing)
            assert following._consumer is not None
            following._consumer.close()
        for stream in streams:
            await self.fill(other, stream, 0, 3)
        await until(lambda: all(r.ids == ["m0", "m1", "m2"] for r in recorders))

    async def test_all_that_others_have_stored_has_come(self) -> None:
        broker, other = await self.make_broker(), await self.make_broker()
        stream = await self.created(broker)
        recorder = await self.followed(broker, stream)
        for number in range(20):
            await self.fill(other, stream, number, number + 1)
            await broker.sync(stream)
            self.assertEqual(recorder.ids, named(*range(number + 1)))
        await broker.end(stream)  # which stores a fence
        await broker.sync(stream)

    async def test_no_request_waits_for_an_acknowledgement_of_the_one_before(self) -> None:
        """By Nagle's algorithm it would, for 40 ms, twice for each page of a room's history."""
        broker = await self.make_broker()
        for connection in broker._connections:
            assert connection.client is not None
            self.assertTrue(connection.client.transport.getTcpNoDelay())

    async def test_where_what_others_have_stored_does_not_come(self) -> None:
        self.patch(amqp_following, "PATIENCE", 0.2)
        broker, other = await self.make_broker(), await self.make_broker()
        stream = await self.created(broker)
        with self.assertRaises(Unavailable):
            await broker.sync(stream)  # it is not followed
        recorder = await self.followed(broker, stream)
        following = recorder.following
        assert isinstance(following, RabbitMQFollowing)
        assert following._consumer is not None
        following._consumer.close()
        await self.fill(other, stream, 0, 1)
        with self.assertRaises(Unavailable):
            await broker.sync(stream)
        await self.interrupt(broker)
        with self.assertRaises(Unavailable):
            await broker.sync(stream)

    async def test_a_directory_that_began_again_while_the_broker_was_away(self) -> None:
        """Its stream has the same name in all its lives, and may be longer than it was."""
        broker = await self.make_broker()
        await broker.create(DIRECTORY)
        await self.fill(broker, DIRECTORY, 0, 2)
        recorder = await self.followed(broker, DIRECTORY)
        await until(lambda: len(recorder.got) == 2)
        await self.interrupt(broker)
        other = await self.elsewhere(broker)
        await other.delete(DIRECTORY)
        await other.create(DIRECTORY)
        await self.fill(other, DIRECTORY, 2, 9)
        await self.leave(other)
        await self.resume(broker)
        await until(lambda: recorder.calls[-1] == "gone")
        self.assertEqual(recorder.ids, named(0, 1))

    async def test_broadcasts_whose_binding_is_lost_come_again_on_a_new_queue(self) -> None:
        """Where nodes meet, who is there already keeps its connections."""
        port = self.node.port
        url = f"amqp://guest:guest@127.0.0.1:{port},127.0.0.1:{port}/{self.vhost}"
        with mock.patch("random.randrange", return_value=0):
            broker = AMQPBroker(reactor, BrokerURL.parse(url))
        broker.startService()
        self.addCleanup(broker.stopService)
        await until(lambda: broker.ready)
        heard: list[bytes] = []
        broker.listen(heard.append)
        self.node.eval(_UNBIND.format(self.vhost))
        broker.broadcast(b"lost")
        broker.reconnect("for the test", False)
        while b"here again" not in heard:
            broker.broadcast(b"here again")
            await pause(0.1)
        self.assertNotIn(b"lost", heard)
        self.assertEqual(broker.figures()["broker_reconnects_total"][1], 0)
        await until(lambda: len(self.queues()) == 1)  # the old one is deleted

    def queues(self) -> list[str]:
        """The names of the presence queues."""
        return re.findall("amq.gen-[^']*", self.node.eval(_QUEUES.format(self.vhost)))

    async def test_the_longest_name(self) -> None:
        """RabbitMQ would say that it has made a stream of a longer one, and try for ever."""
        broker = await self.make_broker()
        fits = Stream("r" * (210 - len(self.vhost)), "0123456789ab")
        await broker.create(fits)
        await self.fill(broker, fits, 0, 1)
        self.assertEqual(len(await self.all_of(broker, fits)), 1)
        with self.assertRaises(NameTooLong):
            await broker.create(Stream(fits.room + "r", fits.epoch))

    async def test_how_many_records_there_are(self) -> None:
        """Asked for several streams at a time; one that is gone says nothing of those after it."""
        broker = await self.make_broker()
        streams = [await self.created(broker) for _ in range(2)]
        for number, stream in enumerate(streams, 2):
            await self.fill(broker, stream, 0, number)

        async def told() -> bool:
            return await broker._counts.of([*streams, Stream("gone", "e"), streams[0]]) == [
                2,
                3,
                None,
                None,
            ]

        while not await told():
            await pause(0.2)  # figures are taken every 5 s


class StartTests(TestCase):
    def test_files_that_cannot_be_used(self) -> None:
        url = BrokerURL.parse("amqps://localhost/?cacertfile=/nowhere/ca.pem")
        with self.assertRaises(StartError) as raised:
            AMQPBroker(reactor, url).startService()
        self.assertIn("/nowhere/ca.pem", str(raised.exception))

    async def test_a_broker_that_is_not_there(self) -> None:
        url = BrokerURL.parse(f"amqp://127.0.0.1:{free_port()}")
        broker = AMQPBroker(reactor, url)
        broker.startService()
        self.assertIs(broker.ready, False)
        stream = Stream("lobby", "e1")
        for ask in (broker.create, broker.delete, broker.end):
            with self.assertRaises(Unavailable):
                await ask(stream)
        with self.assertRaises(Unavailable):
            await broker.append(stream, b"{}", "i", 0)
        broker.announce("joined", "lobby", b"{}")
        broker.broadcast(b"x")
        await broker.stopService()
