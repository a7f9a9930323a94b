"""A node that starts is not ready before the rooms of its command line are there; one that stops
does so whatever fails."""

from __future__ import annotations

import signal
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Retention, Stream
from chatd.config.options import Options
from chatd.protocol.errors import ChatError, Code
from chatd.service.domain import compose
from chatd.service.lifecycle import RETRY, NodeService
from chatd.service.status import NodeStatus
from chatd.tap import ChatService
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

    def test_what_is_missing_is_said(self) -> None:
        status = NodeStatus(self.node, self.broker, mock.Mock(total=3))
        self.assertEqual(status.trouble, "the broker is away")
        self.assertEqual(status.line(), "The broker is away; connections: 3")
        self.broker.startService()
        self.assertEqual(status.trouble, "the directory of rooms is not read yet")
        self.start(Lie.STORE_LATE)
        self.assertEqual(status.trouble, "the rooms of --room are not made yet")
        self.clock.pump([0.5] * 20)
        self.assertEqual((status.trouble, status.ready), ("", True))
        self.broker.lie = lambda *_: Lie.DROP
        self.node.readiness.doubt()
        self.clock.pump([0.5] * 20)
        self.assertEqual(status.trouble, "the directory of rooms cannot be written and read back")
        self.node.chat.draining = True
        self.assertEqual((status.trouble, status.ready), ("it is going down", False))

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

    def names(self) -> list[str]:
        """The rooms whose creation was begun, from now on; each attempt ends when it is told to."""
        names: list[str] = []
        self.attempts: list[Deferred[bool]] = []

        def create(name: str) -> Deferred[bool]:
            names.append(name)
            self.attempts.append(Deferred())
            return self.attempts[-1]

        async def creating(name: str) -> bool:
            return await create(name)

        self.patch(self.directory, "create", creating)
        return names

    def refuse(self) -> None:
        """Say to all attempts that the broker is away."""
        attempts, self.attempts = self.attempts, []
        for attempt in attempts:
            attempt.errback(ChatError(Code.UNAVAILABLE, "it is away"))

    def test_one_attempt_at_a_time_however_often_a_room_is_wanted(self) -> None:
        names = self.names()
        self.start(Lie.NONE)
        self.node.want(["lobby"])
        self.assertEqual(names, ["lobby", "den"])
        self.refuse()
        self.node.want(["lobby"])  # at once, and not once more after `RETRY`
        self.assertEqual(names[2:], ["lobby"])
        self.clock.advance(RETRY)
        self.assertEqual(names[2:], ["lobby"])
        self.refuse()
        self.clock.advance(RETRY)
        self.assertEqual(names[2:], ["lobby", "lobby"])

    def test_what_is_not_wanted_any_more_is_not_tried_again(self) -> None:
        names = self.names()
        self.start(Lie.NONE)
        self.refuse()
        self.node.want(["attic"])
        self.clock.advance(RETRY)
        self.assertEqual(names, ["lobby", "den", "attic"])

    def test_what_is_not_wanted_any_more_does_not_keep_a_node_from_serving(self) -> None:
        self.node.want(["den"])
        self.start(Lie.NONE)
        self.assertTrue(self.node.begun)

    def test_a_fault_is_logged(self) -> None:
        self.names()
        self.start(Lie.NONE)
        for attempt in self.attempts:
            attempt.errback(TypeError("a fault"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)


class Transport:
    """One that has nobody to send away. Where it is ``broken``, it cannot."""

    in_hand = leaving = 0

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.drained = False

    def drain(self, others: int) -> None:
        if self.broken:
            raise RuntimeError("a fault")
        self.drained = True


class StopTests(SynchronousTestCase):
    def setUp(self) -> None:
        options = Options({})
        off = ("--websocket=off", "--http=off", "--setup=off")
        options.parseOptions(["--broker=memory:", "--retain-bytes=1", *off])
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.service = ChatService(self.clock, options.config)
        hangup = signal.getsignal(signal.SIGHUP)
        with capturedLogs() as self.events:
            self.service.startService()
        signal.signal(signal.SIGHUP, hangup)
        self.clock.advance(1)

    def stop(self) -> None:
        """Stop the node, which takes no time since nobody is there."""
        self.successResultOf(self.service.stopService())
        self.assertFalse(self.service.node.running)
        self.assertFalse(self.service.broker.running)

    def test_a_transport_that_cannot_send_its_clients_away(self) -> None:
        ways = (Transport(broken=True), Transport())
        self.patch(self.service.ways, "draining", lambda: ways)
        self.stop()
        self.assertTrue(ways[1].drained)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_clients_cannot_be_sent_away(self) -> None:
        with mock.patch.object(self.service.node, "drain", side_effect=RuntimeError("a fault")):
            self.stop()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_warnings_of_a_start_are_no_warnings_of_python_s(self) -> None:
        """Which Twisted's log passes on in a field ``warning``, with more of them beside it."""
        self.stop()
        said = [event for event in self.events if "--retain-bytes" in str(formatEvent(event))]
        self.assertEqual([event.get("warning") for event in said], [None])
