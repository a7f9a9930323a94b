"""Three RabbitMQ nodes, of which one is cut off from the others, under three chatd nodes."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from attrs import define, field
from twisted.internet.threads import deferToThread

from tests.support.asking import ask
from tests.support.cluster import Cluster
from tests.support.daemon import Daemon
from tests.support.rabbit import Node as RabbitNode
from tests.support.talk import Talker
from tests.support.waiting import pause

#: Seconds in which nodes agree, by the contract of `docs/rabbitmq.rst`.
AGREE = 100.0
#: Seconds in which a silent node is dropped, and some more; and for what has no bound of its own.
FELT, PATIENCE = 25.0, 60.0


@define(eq=False)
class Partition:
    """All of it. `close` when done. The first chatd node is the one on the side that is cut off."""

    cluster: Cluster
    daemons: list[Daemon] = field(factory=list)
    _talkers: list[Talker] = field(factory=list)
    #: Who joined, by chatd node.
    _joined: list[set[str]] = field(factory=lambda: [set(), set(), set()])

    def start_processes(self) -> None:
        """Blocks, for some seconds."""
        for number in range(3):
            # each is known to the broker as a user of its own, so that it can be moved
            user = f"node{number}"
            self.cluster.nodes[0].add_user(user)
            url = self.cluster.url().replace("guest:guest", f"{user}:{user}")
            self.daemons.append(Daemon(broker=f"{url}?heartbeat=4"))

    async def start_clients(self) -> None:
        """Somebody on each node, whom all see."""
        for number in range(3):
            await self.join(number, f"user{number}")
        await self.agree(PATIENCE)

    async def join(self, number: int, name: str) -> None:
        """``name`` joins, on the chatd node of that number."""
        self._talkers.append(await Talker.join(self.daemons[number].websocket, "lobby", name))
        self._joined[number].add(name)

    async def cut(self) -> None:
        """Cut the last RabbitMQ node off, and return when somebody misses people of another node,
        or when none did for so long that chatd found its way around."""
        *others, lonely = self.cluster.nodes
        for number, node in enumerate((lonely, *others)):
            await self._move(f"node{number}", node)
        for other in others:
            lonely.shun(other)
            other.shun(lonely)
        names = self._names
        await self._until(lambda lists: any(one != names for one in lists), FELT, False)

    @property
    def _names(self) -> set[str]:
        return set[str]().union(*self._joined)

    async def mend(self) -> None:
        """Make the network whole."""
        *others, lonely = self.cluster.nodes
        for other in others:
            lonely.meet(other)
            other.meet(lonely)
        lonely.eval(f"net_adm:ping('{others[0].name}')")

    async def agree(self, patience: float) -> None:
        """Return when all nodes show all who joined."""
        names = self._names
        await self._until(lambda lists: all(one == names for one in lists), patience)

    async def _until(
        self, right: Callable[[list[set[str]]], bool], patience: float, must: bool = True
    ) -> None:
        """Return when the lists of all nodes are ``right``; if they ``must`` be, fail when
        ``patience`` ends."""
        end = monotonic() + patience
        while not right(lists := [await deferToThread(_members, one) for one in self.daemons]):
            if monotonic() > end:
                assert not must, "\n\n".join([str(lists), *(one.log() for one in self.daemons)])
                return
            await pause(0.2)

    async def _move(self, user: str, to: RabbitNode) -> None:
        """Close the connections of ``user`` to other nodes until both are to this one."""

        def placed() -> bool:
            counts = [node.connections(user) for node in self.cluster.nodes]
            if sum(counts) != 2:
                return False
            for node in self.cluster.nodes:
                if node is not to:
                    node.disconnect(user)
            return to.connections(user) == 2

        while not await deferToThread(placed):
            await pause(0.2)

    async def close(self) -> None:
        for talker in self._talkers:
            await talker.leave()
        for daemon in self.daemons:
            daemon.close()


def _members(daemon: Daemon) -> set[str]:
    status, room = ask(daemon.url("/rooms/lobby"))
    assert status == 200, room
    return set(room["members"])
