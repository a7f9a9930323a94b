"""A RabbitMQ user who is allowed nothing; tests/integration/test_permissions has those who are."""

from __future__ import annotations

import json

import pytest
from twisted.internet import reactor
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from chatd.amqp.url import BrokerURL
from chatd.brokers.rabbitmq.broker import AMQPBroker
from tests.support.amqp_neighbour import Neighbours
from tests.support.waiting import until

pytestmark = pytest.mark.rabbitmq


class PermissionTests(Neighbours):
    def user(self, *patterns: str) -> BrokerURL:
        """A user ``powerless`` who may configure, write and read what matches the patterns."""
        name, patterns_ = '<<"powerless">>', ", ".join(f"<<{json.dumps(p)}>>" for p in patterns)
        self.node.eval(
            f'rabbit_auth_backend_internal:add_user({name}, <<"pw">>, <<"test">>),'
            f'rabbit_auth_backend_internal:set_permissions({name}, <<"{self.vhost}">>,'
            f' {patterns_}, <<"test">>)'
        )
        self.addCleanup(
            self.node.eval, f'rabbit_auth_backend_internal:delete_user({name}, <<"test">>)'
        )
        return BrokerURL.parse(self.url.replace("guest:guest", "powerless:pw"))

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
