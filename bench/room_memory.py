"""What a room takes of a node's memory, beside the messages that it caches.

    python bench/room_memory.py [--rooms 2000]

A whole node on SQLite without sockets, in this process. Bytes that Python has allocated
(`tracemalloc`), before and after rooms are attached; and after each has got `BUSY` messages more
than it remembers the ids of, once its cache is empty.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.in_process import ROOM, node, tell
from bench.loads import Figure
from chatd.access.identity import Identity
from chatd.protocol.messages import WINDOW
from chatd.service.domain import Domain

#: Messages to a busy room beyond its `WINDOW`, and the rooms that are busy.
BUSY, BUSY_ROOMS = 100, 20
#: Messages under way at once.
TOGETHER = 16
#: Kilobytes, at most, of a quiet room and of a busy one.
QUIET_GOAL, BUSY_GOAL = 4.0, 30.0
ANN = Identity("ann")


def taken() -> int:
    """Bytes that Python has allocated."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def make(domain: Domain, names: list[str]) -> None:
    """Make rooms, which nobody follows yet."""
    await gatherResults([Deferred.fromCoroutine(domain.directory.create(name)) for name in names])


async def talk(domain: Domain, name: str) -> None:
    """Say more in a room than it remembers ids of."""
    chat = domain.chat
    say = partial(chat.publication, ANN, name, "x")
    for _ in range(0, WINDOW + BUSY, TOGETHER):
        await gatherResults([chat.publish(ANN, say()) for _ in range(TOGETHER)])


async def measure(reactor: Any, given: argparse.Namespace) -> None:
    """Attach, talk, and print."""
    quiet = [f"quiet{number}" for number in range(given.rooms)]
    busy = [f"busy{number}" for number in range(BUSY_ROOMS)]
    async with node(reactor, "sqlite:FILE") as domain:
        await make(domain, [*quiet, *busy])
        await domain.chat.room(ANN, ROOM)
        await talk(domain, ROOM)  # what is made once is there
        tracemalloc.start()
        before = taken()
        for name in quiet:
            await domain.chat.room(ANN, name)
        each = (taken() - before) / len(quiet) / 1000
        before = taken()
        for name in busy:
            room = await domain.chat.room(ANN, name)
            await talk(domain, name)
            await deferLater(reactor, 0)  # the last ones are in the cache once their turn is over
            room.recent.clear(room.head)
        full = (taken() - before) / len(busy) / 1000
    tell(
        [
            Figure("An attached quiet room", each, "KB", goal=QUIET_GOAL),
            Figure("A busy room, beside its messages", full, "KB", goal=BUSY_GOAL),
        ],
        given.json,
    )


def main(reactor: Any, *argv: str) -> Deferred[None]:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rooms", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1, help="one is as good as many")
    parser.add_argument("--json", action="store_true")
    return Deferred.fromCoroutine(measure(reactor, parser.parse_args(argv)))


if __name__ == "__main__":
    react(main, sys.argv[1:])
