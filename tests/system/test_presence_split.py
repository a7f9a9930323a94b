"""A node whose queue no longer gets what is broadcast sees within 30 s who is there. How nodes are
parted: `tests.system.test_three_nodes`."""

from __future__ import annotations

import pytest

from tests.support.partition import AGREE
from tests.support.rabbit import shared_node
from tests.support.serving import Node, PreparedTests
from tests.support.waiting import pause

pytestmark = pytest.mark.rabbitmq


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
