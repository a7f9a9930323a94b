"""What a RabbitMQ user must be allowed, for chatd to run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq.broker import AMQPBroker
from tests.support.amqp_neighbour import Neighbours
from tests.support.recording import body, ids
from tests.support.waiting import until

pytestmark = pytest.mark.rabbitmq


class PermissionTests(Neighbours):
    def user(self, *patterns: str) -> BrokerURL:
        """A user ``limited`` who may configure, write and read what matches the patterns."""
        name, patterns_ = '<<"limited">>', ", ".join(f"<<{json.dumps(p)}>>" for p in patterns)
        self.node.eval(
            f'rabbit_auth_backend_internal:add_user({name}, <<"pw">>, <<"test">>),'
            f'rabbit_auth_backend_internal:set_permissions({name}, <<"{self.vhost}">>,'
            f' {patterns_}, <<"test">>)'
        )
        self.addCleanup(
            self.node.eval, f'rabbit_auth_backend_internal:delete_user({name}, <<"test">>)'
        )
        return BrokerURL.parse(self.url.replace("guest:guest", "limited:pw"))

    async def test_the_permissions_of_the_manual_suffice(self) -> None:
        manual = (Path(__file__).parents[2] / "docs" / "rabbitmq.rst").read_text()
        patterns = re.findall(r"'(\^\(.*?)'", manual)
        self.assertEqual(len(patterns), 3)
        broker = AMQPBroker(reactor, self.user(*patterns))
        broker.startService()
        self.addCleanup(broker.stopService)
        await until(lambda: broker.ready)
        stream, heard = Stream("lobby", "e9"), list[bytes]()
        broker.listen(heard.append)
        broker.broadcast(b"x")
        await broker.create(stream)
        self.assertEqual(await broker.end(stream), -1)
        await broker.append(stream, body("m1"), "m1", 0)
        self.assertEqual(ids(await broker.read(stream, 0, 10)), ["m1"])
        await broker.delete(stream)
        await until(lambda: heard)

    async def test_without_permissions_it_is_said(self) -> None:
        said: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            said.append(str(event.get("why", "")))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        broker = AMQPBroker(reactor, self.user("^$", "^$", "^$"))
        broker.startService()
        self.addCleanup(broker.stopService)
        await until(lambda: any("ACCESS_REFUSED" in why and "chatd" in why for why in said))
        self.assertIs(broker.ready, False)
