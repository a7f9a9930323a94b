"""A RabbitMQ user who is allowed nothing; tests/integration/test_permissions has those who are."""

from __future__ import annotations

import json

import pytest
from twisted.internet import reactor
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from chatd.amqp import service
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

    def listen(self) -> list[str]:
        """The reasons that are logged from now on."""
        said: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("why"):
                said.append(str(event["why"]))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return said

    async def refused(self, url: BrokerURL, words: str) -> None:
        """It cannot be used, and the log says so with these ``words``, once."""
        said, attempts = self.listen(), list[object]()
        self.patch(service, "backoff", lambda failures: 0.01)
        self.patch(AMQPBroker, "_lost", lambda _, reason: attempts.append(reason))
        broker = AMQPBroker(reactor, url)
        broker.startService()
        await until(lambda: len(attempts) >= 3)
        await broker.stopService()
        [why] = said
        self.assertIn(words, why)

    async def test_nodes_may_not_listen_to_each_other(self) -> None:
        url = self.user(".*", ".*", "^$")
        await self.refused(url, "access to exchange 'chatd.presence'")

    async def test_a_queue_that_has_another_name_at_each_attempt(self) -> None:
        url = self.user(".*", r"^(chatd|amq\\.default)", ".*")
        await self.refused(url, "access to queue 'amq.gen-")

    async def test_without_permissions_it_is_said(self) -> None:
        said = self.listen()
        broker = AMQPBroker(reactor, self.user("^$", "^$", "^$"))
        broker.startService()
        self.addCleanup(broker.stopService)
        await until(lambda: any("ACCESS_REFUSED" in why and "chatd" in why for why in said))
        self.assertIs(broker.ready, False)
