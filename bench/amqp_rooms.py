"""Many rooms on one RabbitMQ node and one chatd broker: attaching, memory, recovery.

    python bench/amqp_rooms.py --rooms 5000

Starts a node of its own, makes the rooms with a few messages each, follows them all as a chatd
node with a member in each would, restarts RabbitMQ, and waits until all are followed again.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from twisted.internet import defer, reactor, task
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from chatd.amqp.url import BrokerURL
from chatd.brokers.amqp import AMQPBroker
from chatd.interfaces import IFollower, Record, Stream
from chatd.wire import WINDOW, Content
from tests.rabbit import Node
from tests.waiting import until

MESSAGES = 3
PATIENCE = 600.0


@implementer(IFollower)
class Level:
    """Counts the rooms that are level."""

    number = 0

    def __init__(self) -> None:
        self.records_seen = 0

    def records(self, batch: Sequence[Record]) -> None:
        self.records_seen += len(batch)

    def caught_up(self, end: int) -> None:
        Level.number += 1

    def interrupted(self) -> None:
        Level.number -= 1

    def truncated(self) -> None:
        raise AssertionError("nothing was removed")

    def gone(self) -> None:
        raise AssertionError("nothing was deleted")


def memory(pid: int | str) -> float:
    """Resident megabytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def descriptors(node: Node) -> int:
    assert node.process is not None
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))


class Watch:
    """Prints what each step took: seconds of wall clock, and of this process's CPU."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def tell(self, what: str) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        print(f"{what:44}{wall - self.wall:8.1f} s{cpu - self.cpu:8.1f} s CPU", flush=True)
        self.wall, self.cpu = wall, cpu


async def fill(broker: AMQPBroker, streams: Sequence[Stream]) -> None:
    for start in range(0, len(streams), 500):
        some = streams[start : start + 500]
        await defer.gatherResults([broker.create(stream) for stream in some])
    for n in range(MESSAGES):
        now = int(time.time() * 1000)
        body = Content("ann", f"m{n}", "x" * 100).record(now)
        await defer.gatherResults([broker.append(stream, body, f"m{n}", now) for stream in streams])


async def bench(node: Node, rooms: int) -> None:
    assert node.process is not None
    print(f"RabbitMQ alone: {memory(node.process.pid):.0f} MB; this process: {memory('self'):.0f}")
    broker = AMQPBroker(reactor, BrokerURL.parse(node.url()))
    watch = Watch()
    broker.startService()
    await until(lambda: broker.ready)
    watch.tell("connecting")
    streams = [Stream(f"room{n}", "e1") for n in range(rooms)]
    await fill(broker, streams)
    watch.tell(f"making {rooms} rooms, {MESSAGES} messages each")
    print(f"RabbitMQ: {memory(node.process.pid):.0f} MB, {descriptors(node)} descriptors")
    followers = [Level() for _ in streams]
    for stream, follower in zip(streams, followers, strict=True):
        broker.follow(stream, WINDOW, follower)
    await until(lambda: Level.number == rooms, PATIENCE)
    assert all(follower.records_seen == MESSAGES for follower in followers)
    watch.tell("attaching to all")
    print(
        f"RabbitMQ: {memory(node.process.pid):.0f} MB, {descriptors(node)} descriptors;"
        f" this process: {memory('self'):.0f} MB"
    )
    await deferToThread(node.stop)
    await until(lambda: Level.number == 0, PATIENCE)
    watch.tell("stopping RabbitMQ")
    node.start(wait=False)
    await node.ready()
    watch.tell("starting RabbitMQ")
    await until(lambda: Level.number == rooms, PATIENCE)
    watch.tell("until all are followed again")
    assert all(follower.records_seen == MESSAGES for follower in followers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"RabbitMQ: {memory(node.process.pid):.0f} MB; this process at most: {peak:.0f} MB")
    await broker.stopService()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=5000)
    arguments = parser.parse_args()
    node = Node()
    node.start()
    try:
        task.react(lambda _: defer.ensureDeferred(bench(node, arguments.rooms)))
    finally:
        node.close()


if __name__ == "__main__":
    main()
