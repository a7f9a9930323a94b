"""A chatd node that only reads, while leaders of streams are killed or frozen: how long it, and
others, take to be level again.

Three RabbitMQ nodes; one chatd node with readers in some rooms; an AMQP program that publishes,
over a fresh channel each time.
"""

from __future__ import annotations

import random
from itertools import count
from time import monotonic, sleep

import pika
from attrs import define, field
from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.support.cluster import Cluster
from tests.support.daemon import Daemon
from tests.support.rabbit import Node
from tests.support.talk import Talker
from tests.support.waiting import pause

ROOMS = tuple(f"room{n}" for n in range(8))
#: Seconds within which readers must be level: what is stored is there within half a minute.
PATIENCE = 30.0


@define(eq=False)
class ReadingOnly:
    """All of it. `close` when done."""

    cluster: Cluster
    vhost: str = field(init=False)
    daemon: Daemon | None = None
    readers: dict[str, Talker] = field(factory=dict)
    #: Seconds from each fault until a message to each room is confirmed, and until all readers are
    #: level, in the order of the faults.
    published: list[float] = field(factory=list)
    level: list[float] = field(factory=list)
    #: The id of the newest message of each room.
    markers: dict[str, str] = field(factory=dict)
    _numbers: count[int] = field(factory=count)

    def start_processes(self) -> None:
        """Blocks, for some seconds."""
        self.vhost = self.cluster.vhost()
        options = [word for room in ROOMS for word in ("--room", room)]
        self.daemon = Daemon(*options, broker=f"{self.cluster.url(self.vhost)}?heartbeat=2")

    async def start_clients(self) -> None:
        """A reader in each room."""
        assert self.daemon is not None
        for room in ROOMS:
            self.readers[room] = await Talker.join(self.daemon.websocket, room, f"reader-{room}")

    async def fault(self, freeze: bool) -> None:
        """Kill or freeze the leader of some room, publish to all rooms until all readers are
        level, and bring the node back."""
        victim = await deferToThread(self.cluster.leader, self.vhost, random.choice(ROOMS))
        (victim.freeze if freeze else victim.kill)()
        began = monotonic()
        publishing: list[Deferred[float]] = [
            deferToThread(self._publish, victim, room, began) for room in ROOMS
        ]
        while not all(d.called for d in publishing):
            await pause(0.05)
        self.published.append(max([await d for d in publishing]))
        stored = monotonic()
        while behind := [room for room in ROOMS if not self._came(room)]:
            if monotonic() - stored > PATIENCE:
                raise AssertionError(f"readers of {behind} are left behind")
            await pause(0.05)
        self.level.append(monotonic() - began)
        if freeze:
            victim.thaw()
        else:
            victim.start(wait=False)
        await victim.ready()

    def _came(self, room: str) -> bool:
        return self.markers[room] in self.readers[room].heard

    def _publish(self, victim: Node, room: str, began: float) -> float:
        """Publish to a room over fresh connections until it is confirmed; the seconds it took."""
        id = f"{room}-{next(self._numbers)}"
        alive = [node for node in self.cluster.nodes if node is not victim]
        while True:
            try:
                self._publish_once(random.choice(alive), room, id)
            except AMQPError:
                sleep(0.1)
            else:
                self.markers[room] = id
                return monotonic() - began

    def _publish_once(self, node: Node, room: str, id: str) -> None:
        parameters = pika.URLParameters(f"{node.url(self.vhost)}?blocked_connection_timeout=5")
        parameters.socket_timeout = parameters.stack_timeout = 3
        parameters.heartbeat = 4
        connection = pika.BlockingConnection(parameters)
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            connection.call_later(3, connection.close)
            properties = pika.BasicProperties(message_id=id, content_type="text/plain")
            channel.basic_publish("chatd", room, b"marker", properties, mandatory=True)
        finally:
            if connection.is_open:
                connection.close()

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.close()
        self.cluster.drop_vhost(self.vhost)
