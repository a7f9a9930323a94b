"""Metrics of the hot path say what those of Prometheus's own library would."""

from __future__ import annotations

import re
import unittest

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from chatd.telemetry.tallies import Spread, Tally

BOUNDS = (0.001, 0.5, 10.0)


def told(registry: CollectorRegistry) -> str:
    """All of it, but for when it was made."""
    return re.sub(r"(_created) .*", r"\1", generate_latest(registry).decode())


class TalliesTests(unittest.TestCase):
    def setUp(self) -> None:
        self.registry, self.usual = CollectorRegistry(), CollectorRegistry()

    def assert_same(self) -> None:
        self.assertEqual(told(self.registry), told(self.usual))

    def test_counter(self) -> None:
        self.registry.register(tally := Tally("chatd_a", "Some."))
        usual = Counter("chatd_a", "Some.", registry=self.usual)
        self.assert_same()
        for amount in (1, 2.5, 0):
            tally.inc(amount)
            usual.inc(amount)
        tally.inc()
        usual.inc()
        self.assert_same()

    def test_histogram(self) -> None:
        self.registry.register(spread := Spread("chatd_b", "Some.", BOUNDS))
        usual = Histogram("chatd_b", "Some.", registry=self.usual, buckets=BOUNDS)
        self.assert_same()
        for value in (0.0, 0.001, 0.0011, 0.5, 3.0, 10.0, 10.5, 400.0):
            spread.observe(value)
            usual.observe(value)
        self.assert_same()
