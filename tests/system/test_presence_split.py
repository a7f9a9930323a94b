"""However the way between nodes breaks: once it is whole, they agree on who is there in 30 s."""

from __future__ import annotations

import json
from time import monotonic
from urllib.request import ProxyHandler, build_opener

import pytest
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.support.daemon import Daemon
from tests.support.rabbit import Cluster, shared_node
from tests.support.rabbit import Node as RabbitNode
from tests.support.serving import Node, PreparedTests
from tests.support.talk import Talker
from tests.support.waiting import pause

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(300)]

#: Seconds in which nodes agree, by the contract of `docs/rabbitmq.rst`.
AGREE = 30.0
_open = build_opener(ProxyHandler({})).open


class LostQueueTests(PreparedTests):
    """Two nodes on one broker; the queue of one no longer gets what is broadcast."""

    async def prepare(self) -> None:
        self.rabbit = shared_node()
        self.vhost = self.rabbit.vhost()
        self.addCleanup(self.rabbit.drop_vhost, self.vhost)
        url = self.rabbit.url(self.vhost)
        self.nodes: list[Node] = [await self.serve("--broker", url) for _ in range(2)]
        await self.nodes[0].chat("ann", "lobby")
        await self.agree({"ann"})

    def here(self, node: Node) -> set[str]:
        return set(node.service.chat.presence.members("lobby").names)

    async def agree(self, names: set[str]) -> None:
        """Time passes faster than usual until both nodes show ``names``."""
        began = self.nodes[0].clock.seconds()
        while any(self.here(node) != names for node in self.nodes):
            for node in self.nodes:
                node.clock.advance(0.25)
            await pause(0.05)
            self.assertLess(self.nodes[0].clock.seconds() - began, AGREE)

    async def test_unbound(self) -> None:
        self.rabbit.eval(
            f'X = rabbit_misc:r(<<"{self.vhost}">>, exchange, <<"chatd.presence">>),'
            '[rabbit_binding:remove(B, <<"test">>) || B <- rabbit_binding:list_for_source(X)]'
        )
        await self.nodes[1].chat("ben", "lobby")
        await self.agree({"ann", "ben"})


class PartitionTests(TestCase):
    """Three RabbitMQ nodes, of which one is cut off from the others, under three chatd nodes."""

    timeout = 280

    async def test_cut_off(self) -> None:
        self.cluster = Cluster()
        self.addCleanup(self.cluster.close)
        self.cluster.start()
        self.users = [f"node{n}" for n in range(3)]
        self.daemons = [self._daemon(user) for user in self.users]
        names = {f"user{n}" for n in range(3)}
        for daemon, name in zip(self.daemons, sorted(names), strict=True):
            await self._join(daemon, name)
        await self._agree(names)

        *others, lonely = self.cluster.nodes
        for user, node in zip(self.users, (lonely, *others), strict=True):
            await self._move(user, node)
        for other in others:
            lonely.eval(_CUT.format(other.name))
            other.eval(_CUT.format(lonely.name))
        await pause(25)
        for other in others:
            lonely.eval(_MEND.format(other.name))
            other.eval(_MEND.format(lonely.name))
        lonely.eval(f"net_adm:ping('{others[0].name}')")

        await self._join(self.daemons[0], "late")
        await self._agree({*names, "late"})

    def _daemon(self, user: str) -> Daemon:
        """A chatd that is known to the broker as ``user``."""
        self.cluster.nodes[0].add_user(user)
        url = self.cluster.url().replace("guest:guest", f"{user}:{user}")
        daemon = Daemon(broker=f"{url}?heartbeat=4")
        self.addCleanup(lambda: daemon.close())
        return daemon

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

    async def _join(self, daemon: Daemon, name: str) -> None:
        talker = await Talker.join(daemon.websocket, "lobby", name)
        self.addCleanup(talker.leave)

    async def _agree(self, names: set[str]) -> None:
        end = monotonic() + AGREE
        while True:
            lists = [await deferToThread(_members, daemon) for daemon in self.daemons]
            if all(one == names for one in lists):
                return
            self.assertLess(monotonic(), end, lists)
            await pause(0.5)


def _members(daemon: Daemon) -> set[str]:
    with _open(daemon.url("/rooms/lobby"), timeout=20) as answer:
        return set(json.load(answer)["members"])


_CUT = "erlang:set_cookie('{0}', wrong), erlang:disconnect_node('{0}')"
_MEND = "erlang:set_cookie('{0}', erlang:get_cookie())"
