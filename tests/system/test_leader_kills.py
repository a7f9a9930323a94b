"""The leader of a stream dies with publishes in flight: nothing that was acknowledged is lost.

Three times here; ``make test-leader-kills`` does it twenty times, or ``KILLS`` times.
"""

from __future__ import annotations

import os

import pytest
from twisted.trial.unittest import TestCase

from tests.support.leader_kills import LeaderKills

KILLS = int(os.environ.get("TEST_OF_CHATD_KILLS", "3"))
#: Seconds: for the start and the end, and for each kill.
FIXED, EACH = 120, 60

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(FIXED + EACH * KILLS)]


class LeaderKillTests(TestCase):
    timeout = FIXED + EACH * KILLS - 10

    async def test_every_acknowledged_message_is_in_every_list(self) -> None:
        kills = LeaderKills()
        self.addCleanup(kills.close)
        kills.start_processes()
        await kills.start_clients()
        for _ in range(KILLS):
            await kills.kill_one()
            print(kills.report(), flush=True)
        await kills.stop()
        print(kills.report(), flush=True)
        self.assertEqual(kills.faults(), [])
        for daemon in kills.daemons:
            self.assertNotIn("Traceback", daemon.log())
