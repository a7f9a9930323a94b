"""What a node counts, in Prometheus's text format.

One registry per node (not the library's global one), so that several nodes can live in a process.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

#: Media type of `Metrics.text` (Prometheus text exposition format 0.0.4).
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters and gauges of one node."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"chatd_{name}", text, labels, registry=registry)

        self.published = counter("messages_published", "Messages stored by this node.")
        self.false_confirms = counter(
            "false_confirms",
            "Records that the broker confirmed and did not store, appended again.",
        )
        self.resent = counter("unconfirmed_resent", "Records without a confirm, appended again.")
        self.delivered = counter("messages_delivered", "Messages handed to live subscribers.")
        self.bad_records = counter("bad_records", "Records skipped: no chat message.")
        self.bad_events = counter(
            "bad_events", "Directory records and presence payloads skipped: from no chatd node."
        )
        self.errors = counter("errors", "Requests refused.", "code")
        self.requests = counter("http_requests", "HTTP requests answered.", "status")
        self.connections = Gauge(
            "chatd_connections", "Clients connected.", ["transport"], registry=registry
        )

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Report what ``read()`` returns whenever the metrics are asked for."""
        Gauge(f"chatd_{name}", text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """All metrics, as `CONTENT_TYPE`."""
        return generate_latest(self.registry)
