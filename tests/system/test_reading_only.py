"""A chatd node that only reads, on a cluster whose leaders are killed and frozen.

``TEST_OF_CHATD_FAULTS`` is how many of each (``make test-reading-only``); the figures are printed.
Without it some leaders are killed, and none frozen: RabbitMQ takes a minute to miss a frozen node.
"""

from __future__ import annotations

import os
from statistics import median
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.support.reading_only import ReadingOnly

pytestmark = pytest.mark.rabbitmq

FAULTS = int(os.environ.get("TEST_OF_CHATD_FAULTS", "0"))


@pytest.mark.timeout(300 + 120 * FAULTS)
class ReadingOnlyTests(TestCase):
    timeout = 300 + 120 * FAULTS

    def setUp(self) -> Any:
        self.site = ReadingOnly()
        self.addCleanup(lambda: deferToThread(self.site.close))
        starting = deferToThread(self.site.start_processes)
        return starting.addCallback(lambda _: Deferred.fromCoroutine(self.site.start_clients()))

    async def test_it_is_not_left_behind(self) -> None:
        for freeze, number in ((False, FAULTS or 2), (True, FAULTS)):
            for _ in range(number):
                await self.site.fault(freeze)
            if not number:
                continue
            published, level = self.site.published[-number:], self.site.level[-number:]
            print(
                f"{'frozen' if freeze else 'killed'} {number} times:"
                f" published after {median(published):.1f} s (at most {max(published):.1f}),"
                f" level after {median(level):.1f} s (at most {max(level):.1f})"
            )
