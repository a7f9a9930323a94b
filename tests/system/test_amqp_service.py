"""Staying connected to real nodes: TLS, refusals in one line, several hosts, silence."""

from __future__ import annotations

import gc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import urlencode

import pytest
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from chatd.amqp import service
from chatd.amqp.channel import Reason
from chatd.amqp.client import Client
from chatd.amqp.hosts import Hosts
from chatd.amqp.service import BrokerConnection, backoff
from chatd.amqp.url import BadURL, BrokerURL
from chatd.brokers.rabbitmq.inspection import look
from tests.support.certificates import Certificates, make_certificates
from tests.support.rabbit import Node, shared_node
from tests.support.rabbit_home import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.rabbitmq


class Connecting(TestCase):
    """Helper: connects, and notes what happens."""

    timeout = 60

    def setUp(self) -> None:
        self.opened: list[Client] = []
        self.lost: list[Reason] = []
        self.said: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("why"):
                self.said.append(str(event["why"]))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def folder(self) -> Path:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return Path(made.name)

    def connect(self, url: str, hosts: Hosts | None = None) -> BrokerConnection:
        async def opened(client: Client) -> None:
            self.opened.append(client)

        connection = BrokerConnection(
            reactor, BrokerURL.parse(url), "test", opened, self.lost.append, hosts
        )
        connection.startService()
        self.addCleanup(connection.stopService)
        return connection


class ConnectionTests(Connecting):
    def listen(self) -> tuple[int, list[Protocol]]:
        """A port where somebody listens who never says a word."""
        silent: list[Protocol] = []

        class Silent(Protocol):
            def connectionMade(self) -> None:
                silent.append(self)

        port = cast(Any, reactor).listenTCP(0, Factory.forProtocol(Silent), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port, silent

    async def test_connects_and_says_goodbye(self) -> None:
        node = shared_node()
        vhost = node.vhost()
        self.addCleanup(node.drop_vhost, vhost)
        ours = (
            "[P || P <- rabbit_networking:connections(),"
            f' rabbit_networking:connection_info(P, [vhost]) =:= [{{vhost, <<"{vhost}">>}}]]'
        )
        connection = self.connect(node.url(vhost))
        await until(lambda: connection.client)
        self.assertEqual(self.opened, [connection.client])
        known = node.eval(
            f"[binary_to_list(V) || P <- {ours},"
            " {_, Properties} <- rabbit_networking:connection_info(P, [client_properties]),"
            " {_, longstr, V} <- Properties]"
        )
        self.assertEqual(known, '["chatd", "Twisted", "test"]')
        await connection.stopService()
        self.assertIsNone(connection.client)
        self.assertEqual((len(self.lost), self.said), (1, []))
        await until(lambda: node.eval(f"length({ours})") == "0")
        await until(lambda: self._closing(node, vhost))
        # a colon, and "client unexpectedly closed TCP connection", would follow
        self.assertRegex(self._closing(node, vhost), r"\)$")

    def _closing(self, node: Node, vhost: str) -> str:
        """What the node logged about the end of the first connection to a virtual host."""
        log = "".join(file.read_text() for file in (node.folder / "log").glob("*.log"))
        return next((ln for ln in log.splitlines() if "closing" in ln and vhost in ln), "")

    async def test_comes_back(self) -> None:
        connection = self.connect(shared_node().url())
        await until(lambda: connection.client)
        self.opened[0].transport.abortConnection()
        await until(lambda: len(self.opened) == 2 and connection.client is self.opened[1])
        self.assertEqual(len(self.lost), 1)

    async def test_connections_that_do_not_last_come_less_and_less_often(self) -> None:
        waits: list[int] = []

        def noted(failures: int) -> float:
            waits.append(failures)
            return 0.0

        self.patch(service, "backoff", noted)
        connection = self.connect(shared_node().url())
        for number in range(1, 6):
            await until(lambda: len(self.opened) == number and connection.client)
            self.opened[-1].fail("what one record does to each")
        await until(lambda: len(self.opened) == 6 and connection.client)
        self.assertEqual(waits, sorted(set(waits)))
        self.assertEqual(len(waits), 5)
        self.assertEqual(self.said, ["what one record does to each"])  # once
        # one that lasts has proved good
        self.patch(service, "PROVED", 0.0)
        self.opened[-1].fail("what one record does to each")
        await until(lambda: len(self.opened) == 7)
        self.assertEqual(self.said, ["what one record does to each"] * 2)
        self.assertLess(waits[-1], waits[0])

    async def test_the_wrong_password_is_said_once(self) -> None:
        self.patch(service, "backoff", lambda failures: 0.01)
        node = shared_node()
        connection = self.connect(f"amqp://guest:wr0ng@127.0.0.1:{node.port}")
        await until(lambda: len(self.lost) >= 2)
        self.assertIsNone(connection.client)
        await connection.stopService()
        self.assertEqual(len(self.said), 1)
        self.assertIn("ACCESS_REFUSED", self.said[0])
        self.assertNotIn("wr0ng", self.said[0])

    async def test_no_such_virtual_host(self) -> None:
        connection = self.connect(f"amqp://guest:guest@127.0.0.1:{shared_node().port}/nowhere")
        await until(lambda: self.said)
        self.assertIn("nowhere", self.said[0])
        self.assertIsNone(connection.client)

    async def test_one_of_several_hosts(self) -> None:
        dead, node = free_port(), shared_node()
        for _ in range(3):
            connection = self.connect(f"amqp://guest:guest@127.0.0.1:{dead},127.0.0.1:{node.port}/")
            await until(lambda: connection.client)

    async def test_a_host_that_fails_one_connection_and_keeps_another(self) -> None:
        """One that lasted is made again where the other is; if it did not last, both go on."""
        self.patch(service, "backoff", lambda failures: 0.0)
        port = shared_node().port
        url = f"amqp://guest:guest@127.0.0.1:{port},127.0.0.1:{port}/"
        hosts = Hosts(2, present=0)
        stays, goes = self.connect(url, hosts), self.connect(url, hosts)
        for proved, host in ((0.0, 0), (60.0, 1)):
            self.patch(service, "PROVED", proved)
            await until(lambda: stays.client and goes.client)
            before = goes.client
            assert before is not None
            before.fail("what this host does to each")
            await until(lambda: goes.client not in (None, before) and stays.client)
            await until(lambda: (stays.host, goes.host) == (host, host))

    async def test_a_host_that_never_answers(self) -> None:
        self.patch(service, "HANDSHAKE", 0.05)
        port, silent = self.listen()
        connection = self.connect(f"amqp://127.0.0.1:{port}")
        await until(lambda: self.said)
        [said] = self.said
        self.assertRegex(said, "^no answer in time; is RabbitMQ overloaded or frozen")
        await until(lambda: len(silent) >= 2)
        self.assertIsNone(connection.client)

    async def test_hosts_that_fail_in_ways_of_their_own(self) -> None:
        """They are tried in turn for ever; that is said once of each."""
        attempts: list[int] = []

        def noted(failures: int) -> float:
            attempts.append(failures)
            return 0.0

        self.patch(service, "backoff", noted)
        connection = self.connect(f"amqp://127.0.0.1:{free_port()},no.such.host.invalid")
        await until(lambda: len(attempts) >= 8)
        await connection.stopService()
        self.assertEqual(len(self.said), 2, self.said)
        self.assertEqual(len({"DNS" in said for said in self.said}), 2, self.said)

    async def test_why_chatd_itself_cannot_go_on(self) -> None:
        """What it found wanting, and not that it hung up."""

        async def opened(client: Client) -> None:
            client.channel_max = 2
            for _ in range(3):
                await client.open_channel()

        url = BrokerURL.parse(shared_node().url())
        connection = BrokerConnection(reactor, url, "test", opened, self.lost.append)
        connection.startService()
        self.addCleanup(connection.stopService)
        await until(lambda: self.said)
        self.assertEqual(self.said[0], "the broker allows 2 channels only")
        self.assertEqual(connection.trouble, self.said[0])

    async def test_stopping_while_connecting(self) -> None:
        port, silent = self.listen()
        connection = self.connect(f"amqp://127.0.0.1:{port}")
        await until(lambda: silent)
        await connection.stopService()
        self.assertEqual(self.said, [])

    async def test_lost_in_the_handshake(self) -> None:
        port, silent = self.listen()
        self.patch(service, "backoff", lambda failures: 0.01)
        self.connect(f"amqp://127.0.0.1:{port}")
        for number in (1, 2):
            await until(lambda: len(silent) == number)
            cast(Any, silent[-1].transport).abortConnection()
        await until(lambda: len(silent) == 3)

    def test_backoff(self) -> None:
        waits = [backoff(n) for n in range(1, 200)]
        self.assertLessEqual(max(waits), 4.0)
        self.assertLess(waits[0], 0.5)
        self.assertGreaterEqual(min(waits[50:]), 2.0)
        self.assertGreater(len(set(waits[50:])), 100, "jittered")


class TLSTests(Connecting):
    """To a node that asks for the client's certificate, too."""

    def setUp(self) -> None:
        super().setUp()
        self.node = shared_node()

    def url(self, host: str = "localhost", **given: object) -> str:
        made = self.node.certificates
        assert made is not None
        files = {
            "cacertfile": made.authority,
            "certfile": made.client_certificate,
            "keyfile": made.client_key,
        } | given
        query = urlencode({name: str(value) for name, value in files.items() if value})
        return f"amqps://guest:guest@{host}:{self.node.tls_port}/?{query}"

    async def test_by_name_and_by_address(self) -> None:
        for host in ("localhost", "127.0.0.1"):
            connection = self.connect(self.url(host))
            await until(lambda: connection.client)

    async def test_a_check(self) -> None:
        """``--check`` looks, and hangs up when it has seen enough, without a word."""
        found = await look(reactor, BrokerURL.parse(self.url()))
        self.assertIn("answers as amqps://guest@localhost:", found)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def refused(self, url: str) -> str:
        connection = self.connect(url)
        await until(lambda: self.said)
        self.assertIsNone(connection.client)
        self.assertEqual(self.opened, [])
        await connection.stopService()
        return self.said[0]

    async def test_another_name(self) -> None:
        said = await self.refused(self.url("127.1"))
        self.assertIn("127.1", said)

    async def test_another_authority(self) -> None:
        other = make_certificates(self.folder(), "others")
        said = await self.refused(self.url(cacertfile=other.authority))
        self.assertRegex(said, "^TLS: certificate verify failed: .* see cacertfile$")

    async def test_the_system_s_authorities_by_default(self) -> None:
        said = await self.refused(self.url(cacertfile=None))
        self.assertIn("certificate verify failed", said)

    async def test_no_certificate_of_our_own(self) -> None:
        await self.refused(self.url(certfile=None, keyfile=None))

    async def test_files_that_are_renewed(self) -> None:
        """With the old ones it would not get in again."""
        self.patch(service, "backoff", lambda failures: 0.05)
        made, other = self.node.certificates, make_certificates(self.folder(), "others")
        assert made is not None
        certificate, key = [self.folder() / name for name in ("own.pem", "own.key")]

        def write(certificates: Certificates) -> None:
            certificate.write_bytes(certificates.client_certificate.read_bytes())
            key.write_bytes(certificates.client_key.read_bytes())

        write(other)
        connection = self.connect(self.url(certfile=certificate, keyfile=key))
        await until(lambda: self.said)
        self.assertIsNone(connection.client)
        write(made)
        await until(lambda: connection.client)
        key.write_text("half of it")
        assert connection.client is not None
        connection.client.fail("for the test")
        await until(lambda: len(self.opened) == 2)
        self.assertIn(f"{key} (keyfile) holds no PEM private key.", self.said)

    async def test_tls_to_a_plain_port(self) -> None:
        url = self.url().replace(f":{self.node.tls_port}/", f":{self.node.port}/")
        said = await self.refused(url)
        self.assertRegex(said, "^TLS: .* does not speak it, is the port right[?]$")

    async def test_plain_to_a_tls_port(self) -> None:
        await self.refused(f"amqp://127.0.0.1:{self.node.tls_port}")

    def test_files_that_cannot_be_used(self) -> None:
        made = self.node.certificates
        assert made is not None
        junk = str(self.folder() / "junk")
        Path(junk).write_text("junk")
        for given, part in (
            ({"cacertfile": "/nowhere/ca.pem"}, "/nowhere/ca.pem (cacertfile) cannot be read"),
            ({"cacertfile": junk}, "holds no PEM certificate"),
            ({"certfile": junk}, "(certfile) holds no PEM certificate"),
            ({"keyfile": junk}, "(keyfile) holds no PEM private key"),
            ({"keyfile": made.server_key}, "not the key of the certificate"),
            ({"keyfile": "/nowhere/key"}, "(keyfile) cannot be read: No such file"),
        ):
            with self.subTest(given=given), self.assertRaises(BadURL) as raised:
                self.connect(self.url(**given))
            self.assertIn(part, str(raised.exception))
