"""A chatd broker and another program, with pika, on one virtual host."""

from __future__ import annotations

from typing import Any

import pika
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import Retention, Stream
from chatd.brokers.rabbitmq.broker import AMQPBroker
from tests.support.rabbit import own_node, shared_node
from tests.support.recording import Recorder
from tests.support.waiting import until


class Neighbours(TestCase):
    """Helper: ``broker`` has made ``stream``; ``other`` is the other program's channel. With
    ``alone`` they are on `own_node`."""

    timeout = 60
    alone = False

    def setUp(self) -> Any:
        self.node = own_node() if self.alone else shared_node()
        self.vhost = self.node.vhost()
        self.addCleanup(self.node.drop_vhost, self.vhost)
        return Deferred.fromCoroutine(self.prepare())

    async def prepare(self) -> None:
        self.url = self.node.url(self.vhost)
        self.broker = await self.start()
        self.stream = Stream("harry.potter:ü", "e1")
        await self.broker.create(self.stream)
        await self.broker.open(self.stream)
        self.pika = pika.BlockingConnection(pika.URLParameters(self.url))
        self.addCleanup(self.pika.close)
        self.other = self.pika.channel()
        self.other.confirm_delivery()

    async def start(self, retention: Retention | None = None) -> AMQPBroker:
        broker = AMQPBroker(reactor, BrokerURL.parse(self.url), retention)
        broker.startService()
        self.addCleanup(broker.stopService)
        await until(lambda: broker.ready)
        return broker

    async def followed(self, stream: Stream, tail: int | None = None) -> Recorder:
        recorder = Recorder()
        recorder.following = self.broker.follow(stream, tail, recorder)
        recorder.may_call = True
        self.addCleanup(recorder.following.stop)
        await until(lambda: recorder.ends)
        return recorder

    def publish(self, data: bytes, **properties: Any) -> None:
        """What another program says in the room."""
        self.other.basic_publish(
            "chatd", self.stream.room, data, pika.BasicProperties(**properties), mandatory=True
        )

    def queue(self, exchange: str, key: str) -> str:
        """Another program's own queue."""
        name: str = self.other.queue_declare("", exclusive=True).method.queue
        self.other.queue_bind(name, exchange, key)
        return name

    async def take(self, queue: str) -> tuple[Any, Any, bytes]:
        """What comes next to another program's queue."""
        got: list[Any] = []

        def look() -> bool:
            method, properties, data = self.other.basic_get(queue, auto_ack=True)
            got[:] = [method, properties, data]
            return method is not None

        await until(look)
        return got[0], got[1], got[2]
