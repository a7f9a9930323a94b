"""Durable publishes a second on SQLite, against what the disk can do.

    python bench/durable.py [--folder .] [--rounds 3]

A whole node without sockets. Each of 1, 16 and 256 writers waits for its acknowledgement before it
publishes again. What is possible, in the same round: a batch of as many publishes as there are
writers takes the time of one append of 4 KB that is synced, in the same folder, and the processor
time that these publishes took. The ratio is that of the time of a publish to this.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.in_process import ROOM, node, tell
from bench.loads import Figure, progress
from chatd.access.identity import Identity
from chatd.service.domain import Domain

WRITERS = (1, 16, 256)
SECONDS = 1.5
#: Times what one sync for each batch allows.
GOAL = 1.3


def syncs(folder: str) -> float:
    """Seconds of an append of 4 KB that is synced."""
    with tempfile.NamedTemporaryFile(dir=folder, buffering=0) as file:
        until, count, began = time.monotonic() + 1, 0, time.monotonic()
        while time.monotonic() < until:
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            count += 1
        return (time.monotonic() - began) / count


async def write(domain: Domain, writers: int) -> tuple[float, float]:
    """Seconds of wall time and of CPU for a publish, with so many writers."""
    began, used = time.monotonic(), time.process_time()
    until = began + SECONDS

    async def one(user: Identity) -> int:
        count = 0
        while time.monotonic() < until:
            publication = domain.chat.publication(user, ROOM, "x" * 256)
            await domain.chat.publish(user, publication, user)
            count += 1
        return count

    users = [Identity(f"user{number}") for number in range(writers)]
    counts = await gatherResults([Deferred.fromCoroutine(one(user)) for user in users])
    took, used = time.monotonic() - began, time.process_time() - used
    return took / sum(counts), used / sum(counts)


async def measure(reactor: Any, rounds: int, where: str, as_json: bool) -> None:
    """Measure on a new file, and print all figures."""
    found: list[tuple[float, list[tuple[float, float]]]] = []
    async with node(reactor, "sqlite:FILE", where) as domain:
        for number in range(rounds):
            progress(f"durable publishes, round {number + 1}")
            disk = syncs(where)
            found.append((disk, [await write(domain, writers) for writers in WRITERS]))
    tell(_figures(found), as_json)


def _figures(found: list[tuple[float, list[tuple[float, float]]]]) -> Iterator[Figure]:
    yield Figure("The disk, an append that is synced", median(d for d, _ in found) * 1e6, "us")
    for place, writers in enumerate(WRITERS):
        value = median(costs[place][0] for _, costs in found)
        ratios = []
        for disk, costs in found:
            took, used = costs[place]
            ratios.append(took / (disk / writers + used))
        name = f"A durable publish, {writers} writers ({1 / value:,.0f}/s)"
        yield Figure(name, value * 1e6, "us", median(ratios), "possible", GOAL)


def main(reactor: Any, *argv: str) -> Deferred[None]:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", default=".")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    return Deferred.fromCoroutine(measure(reactor, given.rounds, given.folder, given.json))


if __name__ == "__main__":
    react(main, sys.argv[1:])
