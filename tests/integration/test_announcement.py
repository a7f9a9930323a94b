"""What the log says of a start: what runs where, whether it is open, and when it is ready."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

import chatd
from chatd.service.announcement import LOOK, Announcement
from chatd.timing.clock import NodeClock
from tests.support.serving import ServingTests
from tests.support.waiting import until


class ReadyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.ready = False
        clock = NodeClock(self.clock)
        self.announcement = Announcement(clock, ["Here."], lambda: self.ready, "Read on.")

    def said(self, *seconds: float) -> list[str]:
        """What is said while so many seconds pass."""
        with capturedLogs() as events:
            self.clock.pump(seconds)
        return [formatEvent(event) for event in events]

    def test_said_once_when_it_is(self) -> None:
        self.announcement.startService()
        self.assertEqual(self.said(*[0.5] * 5), [])
        self.ready = True
        self.assertEqual(self.said(LOOK, 1), ["Ready after 2.6 s. Read on."])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.announcement.stopService()

    def test_a_node_that_stops_before_is_not_ready(self) -> None:
        self.announcement.startService()
        self.announcement.stopService()
        self.ready = True
        self.assertEqual((self.said(1), self.clock.getDelayedCalls()), ([], []))


class AnnouncementTests(ServingTests):
    async def test_a_start(self) -> None:
        with capturedLogs() as events:
            node = await self.serve()
            await until(lambda: any("Ready after" in formatEvent(event) for event in events))
        own = [event for event in events if "announcement" in event.get("log_namespace", "")]
        said = [formatEvent(event) for event in own]
        self.assertEqual(said[0], f"chatd {chatd.__version__}, rooms in memory:")
        self.assertTrue(said[1].startswith("HTTP:      http://localhost:0/"), said)
        self.assertTrue(said[1].endswith("for this machine only"), said)
        self.assertIn("Open: anyone of this machine can read, and speak as anyone.", said)
        self.assertIn("Ready after", said[-1])
        self.assertTrue(node.service.status.ready)
