"""When a node leaves a host of RabbitMQ that does not serve the directory."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.rabbitmq.hosting import AT_FIRST, AT_MOST, Hosting


class HostingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.left: list[float] = []
        self.hosting = Hosting(self.clock, self.leave)

    def leave(self, why: str) -> None:
        self.assertEqual(why, "this host of RabbitMQ does not serve chatd.directory: no replica")
        self.left.append(self.clock.seconds())
        self.hosting.connected()

    def refuse(self, seconds: int) -> None:
        """The host is tried every second."""
        for _ in range(seconds):
            self.hosting.refused("no replica")
            self.clock.advance(1)

    def test_a_host_that_has_just_started_gets_some_time(self) -> None:
        self.refuse(int(AT_FIRST))
        self.hosting.served()
        self.refuse(int(AT_FIRST))
        self.assertEqual(self.left, [])
        self.refuse(1)
        self.assertEqual(self.left, [2 * AT_FIRST])

    def test_where_none_serves_it_moves_ever_more_seldom(self) -> None:
        self.refuse(600)
        stayed = [later - sooner for sooner, later in zip(self.left, self.left[1:], strict=False)]
        self.assertEqual(stayed, sorted(stayed))
        self.assertLess(stayed[0], 3 * AT_FIRST)
        self.assertTrue(AT_MOST <= stayed[-1] < AT_MOST + 3, stayed)
