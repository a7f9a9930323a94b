"""Three RabbitMQ nodes that are one broker, started once for this file: leaders of streams die, and
the network between the nodes breaks.

Some faults here; ``make test-leader-kills`` and ``make test-reading-only`` cause as many as are
asked for, and print the figures.
"""

from __future__ import annotations

import os
from statistics import median
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.support.cluster import Cluster
from tests.support.leader_kills import LeaderKills
from tests.support.partition import AGREE, Partition
from tests.support.reading_only import ReadingOnly

pytestmark = pytest.mark.rabbitmq

KILLS = int(os.environ.get("TEST_OF_CHATD_KILLS", "0"))
FAULTS = int(os.environ.get("TEST_OF_CHATD_FAULTS", "0"))
#: Seconds: for the start and the end, and for each kill.
FIXED, EACH = 120, 60

cluster: Cluster


def setUpModule() -> None:
    global cluster
    cluster = Cluster().start()


def tearDownModule() -> None:
    cluster.close()


@pytest.mark.timeout(FIXED + EACH * (KILLS or 2))
class LeaderKillTests(TestCase):
    """The leader of a stream dies with publishes in flight: nothing that was acknowledged is lost.
    Two die here, with pauses between the writers' bursts; as many as are asked for without."""

    timeout = FIXED + EACH * (KILLS or 2) - 10

    async def test_every_acknowledged_message_is_in_every_list(self) -> None:
        kills = LeaderKills(cluster, calm=0.02 if KILLS else 1.0)
        self.addCleanup(kills.close)
        kills.start_processes()
        await kills.start_clients()
        for _ in range(KILLS or 2):
            await kills.kill_one()
            print(kills.report(), flush=True)
        await kills.stop()
        print(kills.report(), flush=True)
        self.assertEqual(await kills.faults(), [])


@pytest.mark.timeout(FIXED + 2 * EACH * (FAULTS or 1))
class ReadingOnlyTests(TestCase):
    """A chatd node that only reads, while leaders are killed and frozen.

    ``TEST_OF_CHATD_FAULTS`` is how many of both together. Without it one is killed, and none
    frozen: RabbitMQ takes long to miss a frozen node.
    """

    timeout = FIXED + 2 * EACH * (FAULTS or 1) - 10

    def setUp(self) -> Any:
        self.site = ReadingOnly(cluster)
        self.addCleanup(lambda: deferToThread(self.site.close))
        self.site.start_processes()
        return Deferred.fromCoroutine(self.site.start_clients())

    async def test_it_is_not_left_behind(self) -> None:
        for freeze, number in ((False, FAULTS - FAULTS // 2 or 1), (True, FAULTS // 2)):
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


@pytest.mark.timeout(240)
class TornApartTests(TestCase):
    """One node is cut off from the others, under three chatd nodes. The last class here, for
    afterwards the RabbitMQ nodes are no longer one broker until they are restarted."""

    timeout = 230

    async def test_once_the_network_is_whole_all_agree_who_is_there(self) -> None:
        site = Partition(cluster)
        self.addCleanup(site.close)
        site.start_processes()
        await site.start_clients()
        await site.cut()
        await site.mend()
        await site.join(0, "late")
        await site.agree(AGREE)
