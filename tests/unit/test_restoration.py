"""After a restored backup every room has a new life, the same on all nodes."""

from __future__ import annotations

from unittest import mock

from twisted.internet.defer import fail
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import DIRECTORY, NotStored, Stream
from chatd.brokers.read_back import CONFIRM, SHOWN
from chatd.directory.directory import Directory
from chatd.directory.restoration import RETRY
from chatd.directory.stream import PATIENCE
from tests.support.lying_broker import Lie, LyingBroker
from tests.support.world import World


class RestorationTests(TestCase):
    def setUp(self) -> None:
        self.world = World(broker=LyingBroker)
        broker = self.world.broker
        assert isinstance(broker, LyingBroker)
        self.broker = broker
        self.world.do(self.world.sites[0].directory.create("attic"))
        self.before = self.streams(self.world.sites[0].directory)
        self.told = mock.Mock()
        self.patch(broker, "restoration_told", self.told)

    def streams(self, directory: Directory) -> dict[str, Stream]:
        return {entry.name: entry.stream for entry in directory}

    def start(self) -> Directory:
        """A node that starts after the restoration."""
        directory = Directory(self.broker, self.world.clock)
        directory.start(restored=True)
        self.addCleanup(directory.stop)
        self.world.turn()
        return directory

    def check(self, directory: Directory) -> None:
        """It was told once, and all nodes know the same new lives, in the streams there were."""
        self.assertEqual(self.told.call_count, 1)
        self.assertTrue(directory.loaded)
        after = self.streams(directory)
        self.assertEqual(after, self.streams(self.world.sites[0].directory))
        lives = {stream.life for stream in (*self.before.values(), *after.values())}
        self.assertEqual(len(lives), 4)
        for name, stream in after.items():
            self.assertEqual(stream.name, self.before[name].name)

    def test_told_before_it_is_loaded(self) -> None:
        with mock.patch.object(self.broker, "append", side_effect=self.broker.append) as append:
            self.check(self.start())
        self.assertEqual(append.call_count, 1)

    def test_once_only(self) -> None:
        directory = self.start()
        lives = self.streams(directory)
        self.broker.interrupt()
        self.broker.resume()
        self.world.advance(2 * PATIENCE)
        self.assertEqual(self.streams(directory), lives)
        self.check(directory)

    def test_a_node_that_stops_tries_no_further(self) -> None:
        refuse = mock.Mock(side_effect=lambda *_: fail(NotStored("away")))
        with mock.patch.object(self.broker, "append", refuse):
            directory = self.start()
            self.assertEqual(refuse.call_count, 1)
            self.world.advance(RETRY)
            self.assertEqual(refuse.call_count, 2)
            directory.stop()
            self.world.advance(10 * RETRY)
        self.assertEqual(refuse.call_count, 2)

    def test_confirmed_and_not_stored(self) -> None:
        """As RabbitMQ does, on a channel that outlived its stream's leader."""
        lost = len(self.broker.appended)
        self.broker.lie = lambda stream, number, channel: (
            Lie.CONFIRM_ONLY if number == lost else Lie.NONE
        )
        directory = self.start()
        self.assertFalse(directory.loaded)
        self.world.advance(CONFIRM + SHOWN)
        self.check(directory)

    def test_the_broker_takes_no_records_at_first(self) -> None:
        self.broker.blocked = "low on memory"
        refused = mock.Mock(side_effect=lambda *_: fail(NotStored("low on memory")))
        with mock.patch.object(self.broker, "append", refused):
            directory = self.start()
            self.world.advance(3 * RETRY)
            self.assertFalse(directory.loaded)
        self.broker.blocked = ""
        self.world.advance(RETRY + 0.5)
        self.check(directory)

    def test_the_broker_goes_away_meanwhile(self) -> None:
        self.broker.lie = lambda stream, number, channel: (
            Lie.DROP if stream == DIRECTORY else Lie.NONE
        )
        directory = self.start()
        self.broker.interrupt()
        self.world.advance(PATIENCE + RETRY)
        self.broker.lie = lambda stream, number, channel: Lie.NONE
        self.broker.resume()
        self.world.advance(PATIENCE)
        self.check(directory)
