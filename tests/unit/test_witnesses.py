"""Whether a stream is there, where hosts of RabbitMQ do not answer."""

from __future__ import annotations

from itertools import pairwise
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatd.amqp.hosts import Hosts
from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import DIRECTORY, Stream, Unavailable
from chatd.brokers.rabbitmq.broker import AMQPBroker
from chatd.brokers.rabbitmq.inspection import _rooms
from chatd.brokers.rabbitmq.witnesses import Undecided, Witnesses
from tests.support.amqp_server import Server
from tests.support.rabbit_home import free_port


class SilentTests(TestCase):
    async def test_the_log_names_the_hosts_once(self) -> None:
        hosts = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        witnesses = Witnesses(
            reactor, BrokerURL.parse(f"amqp://{','.join(hosts)}/"), Hosts(len(hosts)).addresses
        )
        with capturedLogs() as events:
            for life in "12":
                with self.assertRaises(Undecided) as raised:
                    await witnesses.confirm(Stream("lobby", life))
                self.assertNotIn("127.0.0.1", str(raised.exception), "clients are told of hosts")
        [said] = [formatEvent(event) for event in events if "silent" in event]
        for host in hosts:
            self.assertRegex(said, rf"{host} \(Connection was refused")


class FirstStartTests(SynchronousTestCase):
    """There is no directory yet, by the word of this host."""

    def test_a_host_is_not_left_where_the_others_say_nothing(self) -> None:
        """They would serve it even less."""
        self.assertEqual(self.moves(Undecided("too few")), 0)

    def test_nor_before_there_is_a_connection(self) -> None:
        self.assertEqual(self.moves(Unavailable("RabbitMQ is not connected"), connected=False), 0)

    def test_it_is_left_where_they_have_one(self) -> None:
        self.assertGreater(self.moves(Unavailable("they do not agree")), 0)

    def moves(self, word: Unavailable, connected: bool = True) -> int:
        """How often the host is left in a minute."""
        clock = Clock()
        broker = AMQPBroker(clock, BrokerURL.parse("amqp://one,two,three/"))
        broker.channels = mock.Mock() if connected else None
        hosts = [broker._hosts.present]

        async def exists(stream: Stream) -> bool:
            if not connected:
                raise word
            return False

        async def confirm(stream: Stream) -> None:
            raise word

        with (
            mock.patch.object(broker._streams, "exists", exists),
            mock.patch.object(broker, "_witnesses", mock.Mock(confirm=confirm)),
        ):
            for _ in range(60):
                self.failureResultOf(broker.create(DIRECTORY), Unavailable)
                clock.advance(1)
                hosts.append(broker._hosts.present)
        return sum(one != other for one, other in pairwise(hosts))


class CheckTests(SynchronousTestCase):
    """What ``--check`` says of rooms, by the word of the host that it came to and of the others."""

    def said(self, word: Exception | None, closed: str = "") -> str:
        server = Server().tuned()

        async def confirm(stream: Stream) -> None:
            if word is not None:
                raise word

        looking = Deferred.fromCoroutine(_rooms(server.client, mock.Mock(confirm=confirm)))
        server.say(1, "channel.open-ok")
        if closed:
            server.say(1, "channel.close", reply_code=404, reply_text=closed)
        else:
            server.say(1, "queue.declare-ok", queue=DIRECTORY.name)
        return self.successResultOf(looking)

    def test_what_a_node_would_find(self) -> None:
        missing = f"NOT_FOUND - no queue '{DIRECTORY.name}' in vhost '/'"
        self.assertEqual(self.said(None), "it holds chatd's rooms")
        self.assertEqual(self.said(None, missing), "chatd has no rooms there yet")
        unknown = "whether chatd has rooms there is not known, and it would wait: "
        self.assertEqual(self.said(Undecided("too few"), missing), unknown + "too few")
        down = f"NOT_FOUND - home node of queue '{DIRECTORY.name}' is down"
        self.assertEqual(self.said(None, down), unknown + down)
