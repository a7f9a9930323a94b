"""Names of rooms for which RabbitMQ could make no stream in its virtual host, though it would say
that it has."""

from __future__ import annotations

from typing import Any, cast
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import NameTooLong, Retention, Stream
from chatd.brokers.memory.broker import MemoryBroker
from chatd.brokers.rabbitmq.broker import AMQPBroker
from chatd.brokers.rabbitmq.queues import StreamQueues
from chatd.errors import StartError
from chatd.protocol.errors import Code
from chatd.service.domain import compose
from chatd.service.lifecycle import RETRY, NodeService
from chatd.telemetry.metrics import Metrics
from chatd.timing.clock import NodeClock
from tests.support.world import BEGINNING, World

EPOCH = "0123456789ab"


class QueueTests(SynchronousTestCase):
    def create(self, room: str, vhost: str) -> bool:
        """Whether RabbitMQ was asked for a stream."""
        pool = mock.Mock(run=mock.Mock(return_value=succeed(None)))
        queues = StreamQueues(cast(Any, pool), Retention(), vhost)
        creating = queues.create(Stream(room, EPOCH))
        if pool.run.called:
            self.successResultOf(creating)
            return True
        why = str(self.failureResultOf(creating, NameTooLong).value)
        self.assertIn(f"at most {255 - 21 - 24 - len(vhost.encode())} bytes", why)
        self.assertIn(f"this one has {len(room.encode())}", why)
        return False

    def test_what_fits_into_the_name_of_a_directory(self) -> None:
        for vhost, most in (("/", 209), ("v" * 10, 200), ("ü" * 30, 150)):
            self.assertTrue(self.create("x" * most, vhost))
            self.assertFalse(self.create("x" * (most + 1), vhost))
        self.assertTrue(self.create("а" * 100, "v" * 10))
        self.assertFalse(self.create("а" * 100, "v" * 11))

    def test_a_virtual_host_without_place_for_the_directory(self) -> None:
        url = BrokerURL.parse(f"amqp://localhost/{'v' * 220}")
        with self.assertRaises(StartError) as raised:
            AMQPBroker(Clock(), url).startService()
        self.assertIn("219 bytes", str(raised.exception))


class RoomTests(SynchronousTestCase):
    """A broker that can have no room of one name."""

    def refuse(self, broker: MemoryBroker) -> list[str]:
        """The rooms for which it is asked for a stream."""
        asked, create = [], broker.create

        def refuse(stream: Stream) -> Deferred[None]:
            asked.append(stream.room)
            if stream.room == "attic":
                return fail(NameTooLong("at most 4 bytes"))
            return create(stream)

        self.patch(broker, "create", refuse)
        return asked

    def test_it_is_a_wrong_request(self) -> None:
        world = World()
        self.refuse(world.broker)
        directory = world.sites[0].directory
        error = world.error(directory.create("attic"))
        self.assertIs(error.code, Code.BAD_REQUEST)
        self.assertEqual((error.text, error.room), ("at most 4 bytes.", "attic"))
        self.assertIsNone(directory.find("attic"))

    def test_a_room_of_the_settings_is_not_tried_again(self) -> None:
        clock = Clock()
        clock.advance(BEGINNING)
        broker = MemoryBroker(clock)
        asked = self.refuse(broker)
        domain = compose(clock, broker, "node", Metrics(), Retention())
        node = NodeService(NodeClock(clock), domain, ("attic", "den"))
        self.addCleanup(node.stopService)
        with capturedLogs() as logs:
            broker.startService()
            node.startService()
            clock.pump([RETRY] * 3)
        self.assertTrue(node.begun)
        self.assertIsNotNone(domain.directory.find("den"))
        self.assertEqual(asked.count("attic"), 1)
        said = [event for event in logs if event.get("room") == "attic"]
        self.assertEqual(len(said), 1)
        self.assertIn("at most 4 bytes", str(said[0]["why"]))
