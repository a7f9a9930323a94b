"""The table of recovery on each broker; see `tests.contract.recovery`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pika
import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from chatd.brokers.memory.broker import MemoryBroker
from chatd.protocol.messages import Content
from tests.contract import recovery
from tests.support.rabbit import shared_node
from tests.support.serving import Node


class MemoryRecoveryTests(recovery.RecoverySuite):
    """Two nodes can share one broker of this process."""

    __test__ = True

    async def node_on(self, *options: str) -> Node:
        self.shared = MemoryBroker(reactor)
        return await self._node(*options)

    async def another(self, node: Node) -> Node:
        return await self._node()

    async def _node(self, *options: str) -> Node:
        with mock.patch("chatd.tap.broker_at", side_effect=lambda *_: self.shared.peer()):
            return await self.serve(*options)


class SQLiteRecoveryTests(recovery.RecoverySuite):
    """One process for one file: another node is the same one started again."""

    __test__ = True

    async def node_on(self, *options: str) -> Node:
        self.path = Path(self.mktemp()).resolve()
        return await self._node(*options)

    async def another(self, node: Node) -> Node:
        await node.stop()
        return await self._node()

    async def _node(self, *options: str) -> Node:
        return await self.serve(f"--broker=sqlite:{self.path}", *options)


@pytest.mark.rabbitmq
class AMQPRecoveryTests(recovery.RecoverySuite):
    """RabbitMQ: many nodes, and other programs that write."""

    __test__ = True

    async def node_on(self, *options: str) -> Node:
        rabbit = shared_node()
        vhost = rabbit.vhost()
        self.addCleanup(rabbit.drop_vhost, vhost)
        self.url = rabbit.url(vhost)
        return await self._node(*options)

    async def another(self, node: Node) -> Node:
        return await self._node()

    async def _node(self, *options: str) -> Node:
        return await self.serve(f"--broker={self.url}", *options)

    async def batch(self, node: Node, texts: Sequence[str]) -> None:
        now = int(node.clock.seconds() * 1000)
        bodies = [Content("amy", text, text).record(now) for text in texts]
        await deferToThread(_transaction, self.url, bodies)


def _transaction(url: str, bodies: Sequence[bytes]) -> None:
    connection: Any = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.tx_select()
    for body in bodies:
        channel.basic_publish("chatd", "lobby", body)
    channel.tx_commit()
    connection.close()
