"""A node that starts is not ready before the rooms of its command line are there."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Retention, Stream
from chatd.service.domain import compose
from chatd.service.lifecycle import NodeService
from chatd.telemetry.metrics import Metrics
from chatd.timing.clock import NodeClock
from tests.support.lying_broker import Lie, LyingBroker


class BeginningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.broker = LyingBroker(self.clock, Retention(), 0)
        domain = compose(self.clock, self.broker, "node", Metrics(), Retention())
        self.directory = domain.directory
        self.node = NodeService(NodeClock(self.clock), domain, ("lobby", "den"))
        self.addCleanup(self.node.stopService)

    def start(self, lie: Lie) -> None:
        def said(stream: Stream, number: int, channel: int) -> Lie:
            return lie

        self.broker.lie = said
        self.broker.startService()
        self.node.startService()
        self.clock.advance(0)

    def test_begun_when_they_were_made(self) -> None:
        self.assertFalse(self.node.begun)
        self.start(Lie.NONE)
        self.assertTrue(self.node.begun)
        self.assertTrue(all(self.directory.find(name) for name in ("lobby", "den")))

    def test_not_while_they_are_being_made(self) -> None:
        self.start(Lie.STORE_LATE)
        self.assertFalse(self.node.begun)
        self.clock.pump([0.5] * 20)
        self.assertTrue(self.node.begun)
        self.assertTrue(all(self.directory.find(name) for name in ("lobby", "den")))

    def test_a_room_that_cannot_be_made_does_not_keep_a_node_from_serving(self) -> None:
        self.start(Lie.REFUSE)
        self.clock.pump([0.5] * 60)
        self.assertTrue(self.node.begun)
        self.assertFalse(self.directory.find("lobby"))
