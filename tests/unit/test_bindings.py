"""Streams are bound one after the other, each until it was."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import Stream, Unavailable
from chatd.brokers.rabbitmq.bindings import Bindings
from chatd.brokers.rabbitmq.broker import AMQPBroker
from tests.support.amqp_server import Server
from tests.support.recording import Recorder


class BindingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[tuple[str, Deferred[None]]] = []
        self.bindings = Bindings(self.bind)
        self.streams = [Stream(name, "e") for name in ("a", "b", "c")]

    def bind(self, stream: Stream) -> Deferred[None]:
        self.asked.append((stream.room, Deferred()))
        return self.asked[-1][1]

    def asks(self, *rooms: str) -> None:
        """What is to be bound, each as soon as the one before is."""
        for room in rooms:
            [(asked, binding)] = self.asked
            self.assertEqual(asked, room)
            self.asked.clear()
            binding.callback(None)
        self.assertEqual(self.asked, [])

    def test_once(self) -> None:
        for _ in range(2):
            for stream in self.streams:
                self.bindings.ensure(stream)
        self.asks("a", "b", "c")
        self.bindings.ensure(self.streams[0])
        self.asks()

    def test_anew_on_another_connection(self) -> None:
        self.bindings.restore(self.streams)
        self.asks("a", "b", "c")
        self.bindings.restore(self.streams)
        self.asks("a", "b", "c")

    def test_what_could_not_be_bound_is_not_taken_for_bound(self) -> None:
        for stream in self.streams[:2]:
            self.bindings.ensure(stream)
        self.asked.pop()[1].errback(Unavailable("RabbitMQ is not connected"))
        self.asks("b")
        for stream in self.streams[:2]:
            self.bindings.ensure(stream)
        self.asks("a")

    def test_what_is_no_longer_followed(self) -> None:
        """It is not bound any more, and nothing is kept of it."""
        for stream in self.streams:
            self.bindings.ensure(stream)
        for stream in self.streams[:2]:
            self.bindings.forget(stream)
        self.asks("a", "c")
        self.assertEqual(self.bindings._bound, {self.streams[2]})


class BrokerTests(SynchronousTestCase):
    def test_what_was_deleted_is_not_taken_for_bound(self) -> None:
        """Nor is anything kept of the many rooms that are made and deleted, and never followed."""
        server, stream = Server().tuned(), Stream("a", "e")
        broker = AMQPBroker(server.clock, BrokerURL.parse("amqp://127.0.0.1"))
        connecting = Deferred.fromCoroutine(broker._connected(server.client))
        server.answer()
        self.successResultOf(connecting)
        broker.open(stream)
        self.assertIn("queue.bind", server.answer())
        broker.delete(stream)
        self.assertIn("queue.delete", server.answer())
        following = broker.follow(stream, None, Recorder())
        self.assertIn("queue.bind", server.answer())
        following.stop()
