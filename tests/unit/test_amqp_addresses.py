"""A host of the broker whose name has several addresses, of which some serve."""

from __future__ import annotations

from typing import Any, cast

from attrs import define
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from chatd.amqp import service
from chatd.amqp.addresses import Addresses
from chatd.amqp.hosts import Hosts
from chatd.amqp.service import BrokerConnection
from chatd.amqp.url import BrokerURL
from chatd.brokers.rabbitmq.inspection import look
from chatd.errors import StartError
from tests.support.rabbit_home import free_port
from tests.support.waiting import until

HERE, THERE, ELSEWHERE = (IPv4Address("TCP", f"127.0.0.{n}", 5672) for n in (1, 2, 3))


def test_those_that_failed_are_tried_last() -> None:
    addresses = Addresses()
    assert addresses.sorted([HERE, THERE, ELSEWHERE]) == [HERE, THERE, ELSEWHERE]
    addresses.failed(HERE)
    assert addresses.sorted([HERE, THERE, ELSEWHERE]) == [THERE, ELSEWHERE, HERE]
    addresses.failed(THERE)
    addresses.failed(HERE)
    assert addresses.sorted([HERE, THERE, ELSEWHERE]) == [ELSEWHERE, THERE, HERE]


def test_those_that_the_name_has_no_more_are_forgotten() -> None:
    addresses = Addresses()
    addresses.sorted([HERE, THERE])
    addresses.failed(HERE)
    addresses.sorted([THERE, ELSEWHERE])
    assert addresses.sorted([HERE, THERE]) == [HERE, THERE]


def test_whether_there_are_others_to_try() -> None:
    addresses = Addresses()
    assert not addresses.more
    for address, more in ((HERE, True), (THERE, False)):
        addresses.sorted([HERE, THERE])
        addresses.failed(address)
        assert addresses.more is more
    addresses.sorted([HERE, THERE])
    assert not addresses.more, "what none of them took was tried everywhere"


@implementer(IHostnameResolver)
@define(eq=False)
class _Names:
    """Each name has these addresses."""

    addresses: list[str]

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolutionReceiver.resolutionBegan(self)
        for address in self.addresses:
            resolutionReceiver.addressResolved(IPv4Address("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return cast(IHostResolution, self)


class MuteTests(TestCase):
    """What listens takes connections, and never says a word."""

    def setUp(self) -> None:
        addresses = ["127.0.0.2", "127.0.0.1"]
        net = cast(Any, reactor)
        self.addCleanup(net.installNameResolver, net.installNameResolver(_Names(addresses)))
        self.taken: list[str] = []
        port = free_port()
        for address in addresses:
            listening = net.listenTCP(port, self.factory(address), interface=address)
            self.addCleanup(listening.stopListening)
        self.url = BrokerURL.parse(f"amqp://rabbit.test:{port}/")
        self.patch(service, "HANDSHAKE", 0.05)
        self.patch(service, "backoff", lambda failures: 0.0)

    def factory(self, address: str) -> Factory:
        test = self

        class Mute(Protocol):
            def connectionMade(self) -> None:
                test.taken.append(address)

        return Factory.forProtocol(Mute)

    async def test_the_next_address_is_tried(self) -> None:
        async def opened(client: object) -> None:
            pass

        hosts = Hosts(1)
        connection = BrokerConnection(reactor, self.url, "test", opened, lambda _: None, hosts)
        connection.startService()
        self.addCleanup(connection.stopService)
        await until(lambda: len(self.taken) >= 4)
        self.assertEqual(self.taken[:4], ["127.0.0.2", "127.0.0.1"] * 2)

    async def test_a_look_tries_each_address(self) -> None:
        with self.assertRaises(StartError):
            await look(reactor, self.url)
        self.assertEqual(self.taken, ["127.0.0.2", "127.0.0.1"])
