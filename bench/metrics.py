"""What the metrics cost a publish: whole nodes with and without them, in turns.

    python bench/metrics.py --broker memory: --rounds 15

As ``bench/publish.py``, on one node that counts what it does with each message, and on one that
counts nothing. Rounds alternate, so that what else the machine does meets both. Prints the CPU time
of each publish with metrics, and its ratio to that without: the medians of the rounds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.in_process import node, tell
from bench.loads import Figure, progress
from bench.publish import join, round_of
from chatd.service.domain import Domain

#: What is counted on the way of a message.
COUNTED = (
    "published",
    "published_bytes",
    "publish_seconds",
    "delivered",
    "delivered_bytes",
    "delivery_seconds",
)


class Uncounted:
    """A counter and a histogram that do nothing."""

    def inc(self, amount: float = 1) -> None:
        """Count nothing."""

    def observe(self, amount: float) -> None:
        """Observe nothing."""


def silence(domain: Domain) -> None:
    """Have a node count nothing on the way of a message."""
    for name in COUNTED:
        setattr(domain.rooms.node.metrics, name, Uncounted())


async def measure(reactor: Any, given: argparse.Namespace) -> None:
    """Measure both in turns."""
    costs: tuple[list[float], list[float]] = ([], [])
    async with node(reactor, given.broker) as one, node(reactor, given.broker) as other:
        silence(one)
        for domain in (one, other):
            await join(domain, given.readers)
        for number in range(given.rounds + 1):
            progress(f"round {number}")
            for domain, spent in zip((one, other), costs, strict=True):
                spent.append(await round_of(domain, given.count, given.together))
    without, counted = (spent[1:] for spent in costs)  # the first rounds warm up
    ratio = median(b / a for a, b in zip(without, counted, strict=True))
    name = f"A publish to {given.readers}, {given.together} at a time, with metrics"
    tell([Figure(name, median(counted), "us, no sockets", ratio, "without")], given.json)


def main(reactor: Any, *argv: str) -> Deferred[None]:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--broker", default="memory:", help="as chatd's; FILE is a new file")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--together", type=int, default=16)
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    return Deferred.fromCoroutine(measure(reactor, parser.parse_args(argv)))


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    react(main, arguments)
