"""The metrics of a node in Prometheus's text format. Names and units follow
https://prometheus.io/docs/practices/naming/.

Each node has its own registry rather than the library's global one, so that several nodes can live
in one process.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector

from chatd import __version__
from chatd.telemetry.refusals import Refusals
from chatd.telemetry.tallies import Spread, Tally
from chatd.timing.singleflight import SingleFlight

#: Media type of `Metrics.show` (Prometheus text exposition format 0.0.4).
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Read once: the metadata of a package is a file, parsed as an email.
TWISTED = version("twisted")
#: Upper bounds of the latency histograms' buckets, in seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


async def _nothing() -> None:
    """There is nothing to look at."""


class Metrics:
    """Counters, gauges and histograms of one node. ``now`` is the time of day, in milliseconds
    since the epoch."""

    def __init__(self, now: Callable[[], int] = lambda: 0) -> None:
        self.registry = registry = CollectorRegistry()
        self._look: Callable[[], Coroutine[Any, Any, None]] = _nothing
        self._looking: SingleFlight[None, None] = SingleFlight()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._of_messages()
        self._of_records()
        self._of_clients(now)
        self._of_the_process()

    def _of_messages(self) -> None:
        self.published = self._tally("messages_published", "Messages stored by this node.")
        self.published_bytes = self._tally("published_bytes", "Bytes of texts stored by this node.")
        self.publish_seconds = self._spread(
            "publish_duration_seconds", "From a publish to its acknowledgement."
        )
        self.delivered = self._tally("messages_delivered", "Messages handed to live subscribers.")
        self.delivered_bytes = self._tally(
            "delivered_bytes", "Bytes of message objects handed to live subscribers."
        )
        self.delivery_seconds = self._spread(
            "delivery_latency_seconds", "From a message's time to its fan-out on this node."
        )
        self.catch_up_reads = self._counter(
            "catch_up_reads", "Pages read from the broker for subscribers that were behind."
        )
        self.gaps = self._counter("gaps", "Times that a reader was told that messages are gone.")

    def _of_records(self) -> None:
        self.false_confirms = self._counter(
            "false_confirms",
            "Records that the broker confirmed and did not store, appended again.",
        )
        self.resent = self._counter(
            "unconfirmed_resent", "Records without a confirm, appended again."
        )
        self.bad_records = self._counter(
            "bad_records", "Records skipped because they are no messages, by reason.", "reason"
        )
        self.bad_events = self._counter(
            "bad_events",
            "Records of the directory and presence skipped: no node's, or a newer one's.",
        )

    def _of_clients(self, now: Callable[[], int]) -> None:
        self.refusals = Refusals(self._counter("errors", "Requests refused.", "code"), now)
        self.requests = self._counter("http_requests", "HTTP requests answered.", "status")
        self.connections = Gauge(
            "chatd_connections", "Clients connected.", ["transport"], registry=self.registry
        )

    def _of_the_process(self) -> None:
        self.loop_lag = self._spread(
            "event_loop_lag_seconds", "How late the reactor makes a call that is due."
        )
        versions = {"version": __version__, "python": platform.python_version(), "twisted": TWISTED}
        build = Gauge(
            "chatd_build_info", "Versions; always 1.", list(versions), registry=self.registry
        )
        build.labels(**versions).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"chatd_{name}", text, labels, registry=self.registry)

    def _tally(self, name: str, text: str) -> Tally:
        self.registry.register(tally := Tally(f"chatd_{name}", text))
        return tally

    def _spread(self, name: str, text: str) -> Spread:
        self.registry.register(spread := Spread(f"chatd_{name}", text, BUCKETS))
        return spread

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge whose value is ``read()`` at each scrape."""
        Gauge(f"chatd_{name}", text, registry=self.registry).set_function(read)

    def include(self, collector: Collector, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Show what ``collector`` collects, too. `show` awaits ``look()`` before that."""
        self.registry.register(collector)
        self._look = look

    async def show(self) -> bytes:
        """All metrics as they are now, in the format of `CONTENT_TYPE`."""
        await self._looking.run(None, self._look)
        return self.text()

    def text(self) -> bytes:
        """All metrics, without another look."""
        return generate_latest(self.registry)
