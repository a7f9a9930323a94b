"""The RabbitMQ permissions of docs/security.rst: enough for chatd, and no more for others."""

from __future__ import annotations

import re
import shlex
from contextlib import AbstractContextManager
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import DIRECTORY, Stream
from chatd.brokers.rabbitmq.broker import AMQPBroker
from tests.support.pika_client import pika_channel
from tests.support.rabbit import shared_node
from tests.support.waiting import until

pytestmark = pytest.mark.rabbitmq

TEXT = Path(__file__).parents[2] / "docs" / "security.rst"
LOBBY = Stream("lobby", "abc")


def commands() -> list[list[str]]:
    """What the page tells an operator to run, without ``rabbitmqctl``."""
    text = TEXT.read_text().replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in re.findall(r"^    (rabbitmqctl .*)$", text, re.M)]


def erlang(text: str) -> str:
    """``text`` as Erlang is told of a binary."""
    escaped = text.replace("\\", "\\\\")
    return f'<<"{escaped}">>'


class PermissionTests(TestCase):
    def setUp(self) -> None:
        self.node = shared_node()
        self.vhost = self.node.vhost()
        self.addCleanup(self.node.drop_vhost, self.vhost)

    def grant(self, user: str, run: bool = False) -> None:
        """Add ``user`` to the node, and give it the permissions that the page gives it: ``run`` the
        commands themselves, or do at once what they do."""
        users = "rabbit_auth_backend_internal"
        self.node.eval(f'{users}:add_user(<<"{user}">>, <<"password">>, <<"test">>)')
        self.addCleanup(self.node.eval, f'{users}:delete_user(<<"{user}">>, <<"test">>)')
        given = 0
        for name, *rest in commands():
            if name.startswith("set_") and rest[:3] == ["-p", "chatd", user]:
                if run:
                    self.node.ctl(name, "-p", self.vhost, *rest[2:])
                else:
                    told = [user, self.vhost, *rest[3:], "test"]
                    self.node.eval(f"ok = {users}:{name}({', '.join(map(erlang, told))})")
                given += 1
        self.assertGreater(given, 0)

    def channel(
        self, user: str, password: str = "password"
    ) -> AbstractContextManager[BlockingChannel]:
        login = pika.PlainCredentials(user, password)
        return pika_channel(
            pika.ConnectionParameters("127.0.0.1", self.node.port, self.vhost, login)
        )

    def refused(self, user: str, method: str, **arguments: object) -> None:
        with self.channel(user) as channel:
            error = self.assertRaises(ChannelClosedByBroker, getattr(channel, method), **arguments)
            self.assertEqual(error.reply_code, 403)

    def make_room(self) -> None:
        """What chatd would have made, made by the node's administrator."""
        with self.channel("guest", "guest") as channel:
            channel.exchange_declare("chatd", "topic", durable=True)
            for room in ("lobby", "secret"):
                name = f"chatd.room.{room}.abc"
                channel.queue_declare(name, durable=True, arguments={"x-queue-type": "stream"})
                channel.queue_bind(name, "chatd", room)

    async def test_chatd_itself(self) -> None:
        self.grant("chatd")
        address = f"amqp://chatd:password@127.0.0.1:{self.node.port}/{self.vhost}"
        broker = AMQPBroker(reactor, BrokerURL.parse(address))
        heard: list[bytes] = []
        broker.listen(heard.append)
        broker.startService()
        self.addCleanup(broker.stopService)
        await until(lambda: broker.ready)
        for stream in (DIRECTORY, LOBBY):
            await broker.create(stream)
            await broker.append(stream, b"body", "id", 1)
            records = await broker.read(stream, 0, 10)
            self.assertEqual([record.body for record in records], [b"body"])
        broker.announce("created", "lobby", b"{}")
        broker.broadcast(b"here")
        await until(lambda: heard == [b"here"])
        deleted: Deferred[None] = broker.delete(LOBBY)
        await deleted
        self.assertTrue(broker.ready)

    def test_a_program_that_publishes(self) -> None:
        self.make_room()
        self.grant("reporter", run=True)
        with self.channel("reporter") as channel:
            channel.basic_publish("chatd", "lobby", b"news", mandatory=True)
        self.refused("reporter", "basic_publish", exchange="chatd", routing_key="secret", body=b"")
        self.refused(
            "reporter", "basic_publish", exchange="", routing_key="chatd.room.secret.abc", body=b""
        )
        self.refused("reporter", "queue_declare", queue="mine")
        self.refused("reporter", "queue_delete", queue="chatd.room.lobby.abc")

    def test_a_program_that_reads(self) -> None:
        self.make_room()
        self.grant("archive")
        with self.channel("archive") as channel:
            channel.queue_declare("archive.news")
            channel.queue_bind("archive.news", "chatd", "news.sports")
        bind = {"queue": "archive.news", "exchange": "chatd"}
        for key in ("#", "secret", "*.secret"):
            self.refused("archive", "queue_bind", routing_key=key, **bind)
        self.refused("archive", "queue_declare", queue="chatd.room.new.abc")
        self.refused("archive", "basic_publish", exchange="chatd", routing_key="news.a", body=b"")
        with self.channel("archive") as channel:
            channel.basic_qos(prefetch_count=1)
            consume = channel.consume("chatd.room.secret.abc")
            error = self.assertRaises(ChannelClosedByBroker, next, consume)
            self.assertEqual(error.reply_code, 403)
