"""Metrics of the hot path. Those of `prometheus_client` take a lock and four calls of functions for
each count, because any thread may count; these are counted by the reactor's thread alone."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from attrs import define, field
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


@define(eq=False)
class Tally(Collector):
    """A counter without labels."""

    name: str
    text: str
    value: float = field(default=0.0, init=False)
    _created: float = field(factory=time.time, init=False)

    def inc(self, amount: float = 1.0) -> None:
        """Count ``amount``, which is not negative."""
        self.value += amount

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self.name, self.text)
        family.add_metric([], self.value, created=self._created)
        yield family


@define(eq=False)
class Spread(Collector):
    """A histogram without labels. ``bounds`` are the upper bounds of its buckets, which ascend."""

    name: str
    text: str
    bounds: Sequence[float]
    _sum: float = field(default=0.0, init=False)
    #: How many values each bucket has got that no bucket before it takes; the last one is endless.
    _counts: list[int] = field(init=False)
    _created: float = field(factory=time.time, init=False)

    def __attrs_post_init__(self) -> None:
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        bounds = [*map(floatToGoString, self.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        family = HistogramMetricFamily(self.name, self.text, buckets, self._sum)
        family.add_sample(f"{self.name}_created", {}, self._created)
        yield family
