"""The directory is not taken for whole before all of it has come to the host that is read from."""

from __future__ import annotations

from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Lagging, Unavailable
from chatd.brokers.memory.broker import MemoryBroker
from chatd.directory.directory import Directory
from chatd.directory.wholeness import PATIENCE, RETRY


class WholenessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.ends = Clock(), list[Deferred[int]]()
        self.broker = MemoryBroker(self.clock)
        self.distrusted = mock.Mock()
        for name, value in (("exact", False), ("end", self.end), ("distrust", self.distrusted)):
            self.patch(self.broker, name, value)
        self.broker.startService()
        self.directory = Directory(self.broker, self.clock)
        self.directory.start()
        self.clock.advance(0)

    def end(self, stream: object) -> Deferred[int]:
        self.ends.append(Deferred())
        return self.ends[-1]

    def test_who_lags_knows_nothing_yet(self) -> None:
        """It would say that rooms do not exist, and let in who was removed."""
        for number in range(1, 100):
            self.assertEqual(len(self.ends), number)
            self.assertFalse(self.directory.loaded)
            self.ends[-1].errback(Lagging("it lags"))
            self.clock.advance(RETRY)
        self.assertEqual(self.distrusted.call_count, 99)
        self.ends[-1].callback(-1)
        self.assertTrue(self.directory.loaded)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_where_nobody_can_tell_what_there_is_counts_after_a_while(self) -> None:
        began = self.clock.seconds()
        while not self.directory.loaded:
            self.ends[-1].errback(Unavailable("no leader"))
            self.clock.advance(RETRY)
        self.assertEqual(self.clock.seconds() - began, PATIENCE + RETRY)
        self.distrusted.assert_not_called()

    def test_at_once_in_an_alarm(self) -> None:
        with mock.patch.object(self.broker, "blocked", "low on disk"):
            self.ends[-1].errback(Unavailable("low on disk"))
        self.assertTrue(self.directory.loaded)

    def test_an_answer_from_before_an_interruption_does_not_count(self) -> None:
        self.directory.stream.interrupted()
        self.ends[-1].callback(-1)
        self.assertFalse(self.directory.loaded)
        self.directory.stream.caught_up(-1)
        self.ends[-1].errback(Lagging("it lags"))
        self.directory.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
