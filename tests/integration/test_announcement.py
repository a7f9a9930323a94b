"""What the log says of a start: what runs where, whether it is open, and when it is ready."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent

import chatd
from tests.support.serving import ServingTests
from tests.support.waiting import until


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
