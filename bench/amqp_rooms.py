"""Many rooms with a member each, on one RabbitMQ node and one chatd: attaching, memory, recovery.

    python bench/amqp_rooms.py --rooms 5000

Starts a RabbitMQ node of its own and composes a chatd node in this process, without ports. Makes
the rooms, lets a member join each, says something everywhere, restarts RabbitMQ, and says something
everywhere again as soon as all rooms are level. Every member must get every message once.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from twisted.internet import defer, task
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from chatd.access.identity import Identity
from chatd.amqp.client import Client
from chatd.brokers.rabbitmq.liveness import CYCLE, FIRST_LOOKS, STEP
from chatd.protocol.errors import ChatError
from chatd.protocol.messages import Message
from chatd.rooms.interfaces import IEncoding, ISubscriber
from chatd.rooms.start_position import Now
from chatd.service.chat import Chat
from chatd.service.session import Session
from chatd.tap import ChatService, Options
from tests.support.publishing import publish
from tests.support.rabbit import Node
from tests.support.waiting import until

PATIENCE = 600.0
#: Seconds for which an idle node is watched.
IDLE = 24.0


@implementer(IEncoding)
class Texts:
    """Texts, a line each."""

    def encode(self, messages: Sequence[Message]) -> bytes:
        return b"".join([m.text.encode() + b"\n" for m in messages])

    def event(self, frame: dict[str, Any]) -> bytes:
        return b""


@implementer(ISubscriber)
class Member:
    """Who is in one room, and what it got."""

    encoding: IEncoding = Texts()
    send = None

    def __init__(self, name: str) -> None:
        self.identity = Identity(name)
        self.got = b""

    def deliver(self, data: bytes, end: int) -> bool:
        self.got += data
        return True

    def keep(self, rest: bytes) -> None:
        """There is no `send`."""

    def notify(self, data: bytes) -> bool:
        return True

    def closed(self, error: ChatError) -> None:
        raise AssertionError(error.text)


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


async def each(work: Iterable[Any]) -> None:
    """Do all of ``work``, a hundred at a time."""
    tokens = defer.DeferredSemaphore(100)
    await defer.gatherResults(
        [tokens.run(defer.Deferred.fromCoroutine, one) for one in work], consumeErrors=True
    )


async def join(chat: Chat, member: Member, room: str) -> None:
    session = Session(chat, member.identity)
    joined = await session.join(room, member, Now())
    assert joined is not None
    joined.subscription.resume()


def used(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def idle(reactor: Any, watch: Watch, rabbit: int, settle: float) -> None:
    """Prints what a node asks of RabbitMQ while nothing is said, from ``settle`` seconds on: it
    looks at each room once, at first."""
    await task.deferLater(reactor, settle)
    watch.tell("settling")
    before = used(rabbit)
    written: list[int] = []
    send = Client.send

    def counted(client: Client, data: bytes) -> None:
        written.append(len(data))
        send(client, data)

    Client.send = counted  # type: ignore[method-assign,assignment]
    await task.deferLater(reactor, IDLE)
    Client.send = send  # type: ignore[method-assign]
    rabbits = 100 * (used(rabbit) - before) / IDLE
    watch.tell(f"idle, {len(written) / IDLE:.0f} writes/s, {sum(written) / IDLE / 1000:.1f} KB/s")
    print(f"RabbitMQ's CPU for that: {rabbits:.1f}% of a core")


async def bench(reactor: Any, node: Node, number: int, settle: float) -> None:
    assert node.process is not None
    print(f"RabbitMQ alone: {memory(node.process.pid):.0f} MB; this process: {memory('self'):.0f}")
    options = Options({})
    options.parseOptions(
        ["--broker", node.url(), "--http", "off", "--websocket", "off", "--setup", "off"]
    )
    service = ChatService(reactor, options.config)
    chat = service.chat
    watch = Watch()
    service.startService()
    await until(lambda: service.status.ready)
    watch.tell("until ready")
    rooms = [f"room{n}" for n in range(number)]
    await each(chat.directory.create(room) for room in rooms)
    watch.tell(f"making {number} rooms")
    members = [Member(f"user{n}") for n in range(number)]
    await each(join(chat, m, room) for m, room in zip(members, rooms, strict=True))
    watch.tell("a member joins each")
    print(
        f"RabbitMQ: {memory(node.process.pid):.0f} MB, {descriptors(node)} descriptors;"
        f" this process: {memory('self'):.0f} MB"
    )
    await idle(reactor, watch, node.process.pid, settle)
    await each(publish(chat, "ann", room, "before") for room in rooms)
    watch.tell("a message in each")
    await deferToThread(node.stop)
    watch.tell("stopping RabbitMQ")
    node.start(wait=False)
    await node.ready()
    watch.tell("starting RabbitMQ")
    level = [chat.directory.get(room) for room in rooms]
    await until(lambda: all(map(chat.rooms.get, level)), PATIENCE)
    watch.tell("until all rooms are level again")
    await each(publish(chat, "ann", room, "after") for room in rooms)
    await until(lambda: all(m.got.endswith(b"after\n") for m in members), PATIENCE)
    watch.tell("a message in each")
    assert all(m.got == b"before\nafter\n" for m in members)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"RabbitMQ: {memory(node.process.pid):.0f} MB; this process at most: {peak:.0f} MB")
    await service.stopService()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=5000)
    parser.add_argument("--settle", type=float, help="seconds; by default what the rooms take")
    arguments = parser.parse_args()
    rooms, settle = arguments.rooms, arguments.settle
    if settle is None:
        settle = rooms / FIRST_LOOKS * STEP + 2 * CYCLE
    node = Node()
    node.start()
    try:
        task.react(lambda reactor: defer.ensureDeferred(bench(reactor, node, rooms, settle)))
    finally:
        node.close()


if __name__ == "__main__":
    main()
