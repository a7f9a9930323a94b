"""What one publish costs a node: from the domain's edge to acknowledged and handed to readers.

    python bench/publish.py --broker memory: --rounds 5

A whole node without sockets, in this process. Messages of 256 characters are published to one room,
``--together`` at a time, to ``--readers`` subscribers whose transports cost nothing. Prints the CPU
time of the process for each publish: the median of the rounds, and the least.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react
from zope.interface import implementer

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.in_process import ROOM, node, tell
from bench.loads import Figure, progress
from chatd.access.identity import Identity
from chatd.protocol.errors import ChatError
from chatd.rooms.interfaces import ISubscriber
from chatd.rooms.start_position import Now
from chatd.service.domain import Domain
from chatd.service.session import Session
from chatd.transports.encodings import WEBSOCKET

TEXT = "x" * 256


@implementer(ISubscriber)
class Sink:
    """A client's end that takes everything and keeps nothing."""

    encoding = WEBSOCKET
    send = staticmethod(len)

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def deliver(self, data: bytes, end: int) -> bool:
        return True

    def keep(self, rest: bytes) -> None:
        """`send` takes all."""

    def notify(self, data: bytes) -> bool:
        return True

    def closed(self, error: ChatError) -> None:
        raise error


async def join(domain: Domain, readers: int) -> None:
    """Have so many ``readers`` join the room."""
    for number in range(readers):
        sink = Sink(Identity(f"user{number}"))
        await Session(domain.chat, sink.identity).join(ROOM, sink, Now())


async def round_of(domain: Domain, count: int, together: int) -> float:
    """Publish ``count`` messages; microseconds of CPU for each."""
    ann = Identity("ann")
    before = time.process_time()
    for _ in range(count // together):
        publishes: list[Deferred[Any]] = [
            domain.chat.publish(ann, domain.chat.publication(ann, ROOM, TEXT))
            for _ in range(together)
        ]
        await gatherResults(publishes)
    return (time.process_time() - before) / count * 1e6


async def measure(reactor: Any, given: argparse.Namespace) -> None:
    """Warm a node up, measure, and print."""
    figures = []
    for together in given.together:
        async with node(reactor, given.broker) as domain:
            await join(domain, given.readers)
            await round_of(domain, given.count // 4, together)
            progress(f"{given.count} publishes, {together} at a time")
            costs = [await round_of(domain, given.count, together) for _ in range(given.rounds)]
        kind = given.broker.partition(":")[0]
        name = f"A publish to {given.readers}, {together} at a time, {kind}"
        figures += [
            Figure(name, median(costs), "us, no sockets"),
            Figure(f"{name}, the least", min(costs), "us, no sockets"),
        ]
    tell(figures, given.json)


def main(reactor: Any, *argv: str) -> Deferred[None]:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--broker", default="memory:", help="as chatd's; FILE is a new file")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--together", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    return Deferred.fromCoroutine(measure(reactor, parser.parse_args(argv)))


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    react(main, arguments)
