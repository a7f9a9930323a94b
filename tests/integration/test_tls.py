"""Endpoint strings, and real handshakes with certificates that change while the port is open."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from chatd.access.fair_queue import FairQueue
from chatd.access.rate_limit import Rate
from chatd.errors import StartError
from chatd.net.certificates import Certificates
from chatd.net.descriptions import Description
from chatd.net.endpoints import TLSEndpoint, listen_endpoint
from chatd.net.handshakes import FactoryInTurn
from tests.support.certificates import make_certificates
from tests.support.tls import Lax


class DescriptionTests(TestCase):
    def test_positions_and_names(self) -> None:
        for text, kind, arguments in (
            ("tcp:80", "tcp", {"port": "80"}),
            ("tcp:80:127.0.0.1", "tcp", {"port": "80", "interface": "127.0.0.1"}),
            (
                "tcp:80:127.0.0.1:65535",
                "tcp",
                {"port": "80", "interface": "127.0.0.1", "backlog": "65535"},
            ),
            ("tcp:port=80:backlog=5", "tcp", {"port": "80", "backlog": "5"}),
            ("tcp6:80:5:\\:\\:1", "tcp6", {"port": "80", "backlog": "5", "interface": "::1"}),
            ("unix:/run/a\\:b:mode=660", "unix", {"address": "/run/a:b", "mode": "660"}),
            ("unix:/run/a:mode=0007777", "unix", {"address": "/run/a", "mode": "0007777"}),
            ("ssl:443:key=pem:c=d", "", {}),
            ("ssl:443:k\\=.pem", "ssl", {"port": "443", "privateKey": "k=.pem"}),
            ("ssl:443:certKey=a=b", "ssl", {"port": "443", "certKey": "a=b"}),
            ("systemd:domain=INET:name=web", "systemd", {"domain": "INET", "name": "web"}),
        ):
            if not kind:
                self.assertRaises(ValueError, Description.parse, text)
                continue
            got = Description.parse(text)
            self.assertEqual((got.text, got.kind, got.arguments), (text, kind, arguments))

    def test_what_is_none(self) -> None:
        for text in (
            "",
            ":",
            "9000",
            "Off",
            "2001:db8",
            "9000:interface=127.0.0.1",
            "/run/chatd.sock",
            "tcp",
            "tcp:",
            "tcp:http",
            "tcp:65536",
            "tcp:-1",
            "tcp:+1",
            "tcp:٣",
            "tcp:80:backlog=many",
            "tcp:80:backlog=65536",
            "tcp:80:127.0.0.1:5:6",
            "tcp:80:interfce=127.0.0.1",
            "tcp=80",
            "unix:",
            "unix:/run/a:mode=abc",
            "unix:/run/a:mode=999",
            "unix:/run/a:mode=",
            "unix:/run/a:mode=17777",
            "unix:/run/a:mode=" + "7" * 30,
            "ssl:443:sslmethod=SSLv23_METHOD",
        ):
            error = str(self.assertRaises(ValueError, Description.parse, text))
            self.assertNotIn("\n", error)

    def test_loopback(self) -> None:
        for text, loopback in (
            ("tcp:80", False),
            ("tcp:80:interface=", False),
            ("tcp:80:interface=0.0.0.0", False),
            ("tcp:80:interface=127.0.0.1", True),
            ("tcp:80:interface=127.1.2.3", True),
            ("tcp:80:interface=192.168.1.5", False),
            ("tcp:80:interface=localhost", True),
            ("tcp6:80", False),
            ("tcp6:80:interface=\\:\\:1", True),
            ("tcp:80:interface=\\:\\:1", True),
            ("ssl:443:interface=127.0.0.1:privateKey=k", True),
            ("ssl:443:privateKey=k", False),
            ("tls:/etc/pems:443:interface=\\:\\:1", True),
            ("unix:/run/chatd.sock", True),
            ("systemd:domain=INET:index=0", False),
            ("haproxy:tcp:80:interface=127.0.0.1", False),
        ):
            self.assertEqual(Description.parse(text).loopback, loopback, text)


@define(eq=False)
class Echo(Protocol):
    """Sends back what it gets; fires ``closed`` when it has lost its connection."""

    received: bytes = field(default=b"", init=False)
    closed: Deferred[None] = field(factory=Deferred, init=False)
    _waiting: list[tuple[int, Deferred[bytes]]] = field(factory=list, init=False)

    back: bool = False

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if self.back:
            self.transport.write(data)
        self.received += data
        while self._waiting and len(self.received) >= self._waiting[0][0]:
            self._waiting.pop(0)[1].callback(self.received)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for _, waiting in self._waiting:
            waiting.errback(reason)
        self.closed.callback(None)

    def read(self, size: int) -> Deferred[bytes]:
        """All received, once it is ``size`` bytes."""
        waiting: Deferred[bytes] = Deferred()
        self._waiting.append((size, waiting))
        return waiting

    async def echoed(self, data: bytes) -> bytes:
        """Send ``data`` and await that much more."""
        assert self.transport is not None
        size = len(self.received) + len(data)
        self.transport.write(data)
        return (await self.read(size))[-len(data) :]

    @property
    def handle(self) -> SSL.Connection:
        """OpenSSL's side of the connection."""
        transport: Any = self.transport
        handle: SSL.Connection = transport.getHandle()
        return handle


class EchoFactory(Factory):
    """Servers that echo, all remembered."""

    def __init__(self) -> None:
        self.made: list[Echo] = []

    def buildProtocol(self, addr: object) -> Echo:
        self.made.append(Echo(back=True))
        return self.made[-1]


class FileTests(TestCase):
    """Certificates in a folder that goes when the test has."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.files = make_certificates(self.folder)

    def ssl(self, **more: str | Path) -> str:
        given: dict[str, str | Path] = {
            "privateKey": self.files.server_key,
            "certKey": self.files.server_certificate,
            **more,
        }
        named = "".join(f":{name}={value}" for name, value in given.items())
        return f"ssl:0:interface=127.0.0.1{named}"

    def replace(self) -> x509.Certificate:
        """Put other certificates in the place of those there are."""
        self.files = make_certificates(self.folder)
        return self.certificate()

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.files.server_certificate.read_bytes())


def certificates() -> Certificates:
    """None yet; handshakes wait for their turns as on a node."""
    return Certificates(FairQueue(reactor, Rate(1000)).handshake)


class ExpiryTests(FileTests):
    """A certificate that has to be replaced is told of in time, however long it was made for."""

    DAY = 86400

    def test_when(self) -> None:
        for days, warned in ((3650, 14), (90, 14), (6, 1.2), (0.5, 0.1)):
            self.files = make_certificates(self.files.server_key.parent, years=days / 365)
            kept = certificates()
            for _ in range(2):
                listen_endpoint(MemoryReactor(), self.ssl(), kept)
            (end,) = kept.expiries().values()
            for before, said in ((-1, "expired on"), (warned - 0.01, "expires on")):
                (line,) = kept.due(end - before * self.DAY)
                self.assertTrue(line.startswith(f"{self.files.server_certificate} {said} "), line)
            self.assertEqual(kept.due(end - (warned + 0.01) * self.DAY), [])
            (line,) = kept.due(end - (days + 1) * self.DAY)
            self.assertIn("is not valid before", line)


class InTurnTests(FileTests):
    """Handshakes wait in line, and their connections are not read from meanwhile."""

    def factory(self, clock: Clock) -> FactoryInTurn:
        line = FairQueue(clock, Rate(1000))
        endpoint = listen_endpoint(MemoryReactor(), self.ssl(), Certificates(line.handshake))
        assert isinstance(endpoint, TLSEndpoint)
        factory = FactoryInTurn(endpoint.certificate, False, EchoFactory(), clock)
        factory.handshakes = line.handshake
        return factory

    def client(self) -> SSL.Connection:
        client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        client.set_connect_state()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        return client

    def test_records_that_come_together_are_handed_on_together(self) -> None:
        """A client may send thousands of a byte each, and then the end, in one piece of TCP."""
        clock, transport, client = Clock(), StringTransport(), self.client()
        factory = self.factory(clock)
        server = factory.buildProtocol(transport.getPeer())
        server.makeConnection(transport)
        pieces: list[bytes] = []
        self.patch(server.wrappedProtocol, "dataReceived", pieces.append)
        server.dataReceived(client.bio_read(65536))
        clock.advance(0.001)
        client.bio_write(transport.value())
        client.do_handshake()
        for _ in range(1000):
            client.send(b"x")
        server.dataReceived(client.bio_read(65536))
        clock.advance(0.001)
        self.assertEqual(pieces, [b"x" * 1000])
        client.send(b"yz")
        client.shutdown()
        server.dataReceived(client.bio_read(65536))
        self.assertEqual(pieces[1:], [b"yz"])
        self.assertTrue(transport.disconnecting)

    def test_a_handshake_waits_for_its_turn(self) -> None:
        clock = Clock()
        factory = self.factory(clock)
        first = self.client().bio_read(65536)
        transports = []
        for _ in range(20):
            transport = StringTransport()
            server = factory.buildProtocol(transport.getPeer())
            server.makeConnection(transport)
            server.dataReceived(first)
            transports.append(transport)
        self.assertEqual({one.producerState for one in transports}, {"paused"})
        self.assertFalse(any(one.value() for one in transports))
        while clock.getDelayedCalls():
            clock.advance(0.001)
        self.assertEqual({one.producerState for one in transports}, {"producing"})
        self.assertTrue(all(one.value() for one in transports))


class HandshakeTests(FileTests):
    def setUp(self) -> None:
        super().setUp()
        self.certificates = certificates()
        self.factory = EchoFactory()
        self.clients: list[Echo] = []
        self.addCleanup(self.close)

    async def listen(self, text: str) -> IListeningPort:
        endpoint = listen_endpoint(reactor, text, self.certificates)
        return self.opened(await endpoint.listen(self.factory))

    def opened(self, port: IListeningPort) -> IListeningPort:
        self.addCleanup(port.stopListening)
        return port

    async def connect(
        self, port: IListeningPort, version: int | None = None, ciphers: bytes = b"ALL"
    ) -> Echo:
        """A client that has shaken hands; the error of the handshake if it has not."""
        host = port.getHost()
        assert isinstance(host, IPv4Address)
        plain = TCP4ClientEndpoint(reactor, host.host, host.port)
        client = Echo()
        await connectProtocol(wrapClientTLS(Lax(version, ciphers=ciphers), plain), client)
        self.clients.append(client)
        await client.echoed(b"hello")
        return client

    async def close(self) -> None:
        for client in self.clients:
            assert client.transport is not None
            client.transport.loseConnection()
        for one in self.clients + self.factory.made:
            await one.closed

    def served(self, client: Echo) -> x509.Certificate | None:
        return client.handle.get_peer_certificate(as_cryptography=True)

    async def test_a_new_certificate_for_new_connections_only(self) -> None:
        port = await self.listen(self.ssl())
        old = self.certificate()
        before = await self.connect(port)
        new = self.replace()
        self.assertEqual(self.served(await self.connect(port)), old)

        self.assertEqual(self.certificates.reload(), [])

        after = await self.connect(port)
        self.assertNotEqual(old, new)
        self.assertEqual(self.served(before), old)
        self.assertEqual(self.served(after), new)
        self.assertEqual(await before.echoed(b"alive"), b"alive")

    async def test_a_bad_file_changes_nothing(self) -> None:
        port = await self.listen(self.ssl())
        old = self.certificate()
        self.files.server_key.write_text("oops")
        (fault,) = self.certificates.reload()
        self.assertIn(str(self.files.server_key), fault)
        self.assertEqual(self.served(await self.connect(port)), old)

    async def test_half_replaced_files_change_nothing(self) -> None:
        """Certificate and key are two files, and SIGHUP may come between the two."""
        port = await self.listen(self.ssl())
        old, key = self.certificate(), self.files.server_key.read_bytes()
        self.replace()
        new_key = self.files.server_key.read_bytes()
        self.files.server_key.write_bytes(key)
        self.assertEqual(len(self.certificates.reload()), 1)
        self.assertEqual(self.served(await self.connect(port)), old)
        self.files.server_key.write_bytes(new_key)
        self.assertEqual(self.certificates.reload(), [])
        self.assertEqual(self.served(await self.connect(port)), self.certificate())

    async def test_relative_files_are_found_from_another_folder(self) -> None:
        was = os.getcwd()
        self.addCleanup(os.chdir, was)
        os.chdir(self.folder)
        port = await self.listen(
            "ssl:0:interface=127.0.0.1:privateKey=server.key:certKey=server.pem"
        )
        os.chdir(was)
        self.replace()
        self.assertEqual(self.certificates.reload(), [])
        self.assertEqual(self.served(await self.connect(port)), self.certificate())

    async def test_the_chain_is_sent(self) -> None:
        authority = self.files.authority.read_bytes()
        full = self.folder / "full.pem"
        full.write_bytes(self.files.server_certificate.read_bytes() + authority)
        for text in (
            self.ssl(certKey=full),
            self.ssl(extraCertChain=self.files.authority),
            self.ssl(certKey=full, extraCertChain=self.files.authority),
        ):
            client = await self.connect(await self.listen(text))
            chain = client.handle.get_peer_cert_chain(as_cryptography=True)
            expected = [self.certificate(), x509.load_pem_x509_certificate(authority)]
            self.assertEqual(chain, expected, text)

    async def test_versions(self) -> None:
        port = await self.listen(self.ssl())
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")):
            client = await self.connect(port, version)
            self.assertEqual(client.handle.get_protocol_version_name(), name)

    async def test_old_versions_are_refused(self) -> None:
        port = await self.listen(self.ssl())
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            try:
                await self.connect(port, version)
            except SSL.Error as e:
                self.assertIn("protocol version", str(e))
            else:
                self.fail("an old version was spoken")

    async def test_old_ciphers_are_refused(self) -> None:
        """Without forward secrecy, or with CBC (RFC 9325, section 4.1); each could be spoken."""
        port = await self.listen(self.ssl())
        creator = Lax(SSL.TLS1_2_VERSION, self.files)
        wrapped = TLSMemoryBIOFactory(creator, False, self.factory)
        plain = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        lax = self.opened(await plain.listen(wrapped))
        for cipher in (
            b"AES128-GCM-SHA256",
            b"AES256-SHA256",
            b"AES128-SHA",
            b"ECDHE-ECDSA-AES128-SHA",
            b"ECDHE-RSA-AES128-SHA",
            b"ECDHE-ECDSA-AES256-SHA384",
            b"ECDHE-RSA-AES256-SHA384",
        ):
            with self.assertRaises(SSL.Error, msg=str(cipher)):
                await self.connect(port, SSL.TLS1_2_VERSION, cipher)
        kind = b"ECDHE-ECDSA" if self.is_elliptic() else b"ECDHE-RSA"
        client = await self.connect(lax, SSL.TLS1_2_VERSION, kind + b"-AES128-SHA")
        self.assertEqual(client.handle.get_cipher_name(), (kind + b"-AES128-SHA").decode())
        for cipher in (b"-AES128-GCM-SHA256", b"-CHACHA20-POLY1305"):
            client = await self.connect(port, SSL.TLS1_2_VERSION, kind + cipher)
            self.assertEqual(client.handle.get_cipher_name(), (kind + cipher).decode())

    def is_elliptic(self) -> bool:
        """Whether the server's key is one of an elliptic curve."""
        return isinstance(self.certificate().public_key(), ec.EllipticCurvePublicKey)

    async def test_old_versions_can_be_spoken_here(self) -> None:
        """Else the test above would pass for another reason than ours."""
        creator = Lax(SSL.TLS1_1_VERSION, self.files)
        wrapped = TLSMemoryBIOFactory(creator, False, self.factory)
        plain = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = self.opened(await plain.listen(wrapped))
        client = await self.connect(port, SSL.TLS1_1_VERSION)
        self.assertEqual(client.handle.get_protocol_version_name(), "TLSv1.1")

    async def test_other_endpoints_are_twisteds(self) -> None:
        path = str(self.folder / "socket")
        self.opened(
            await listen_endpoint(reactor, f"unix:{path}", self.certificates).listen(self.factory)
        )
        self.assertTrue(os.path.exists(path))
        self.assertEqual(self.certificates.reload(), [])

    async def test_a_crowd_finds_room_until_it_is_accepted(self) -> None:
        """Meanwhile nobody is: this test is in the way of the reactor."""
        path = str(self.folder / "socket")
        for text in (
            "tcp:0:interface=127.0.0.1",
            "haproxy:tcp:0:interface=127.0.0.1",
            r"tcp6:0:interface=\:\:ffff\:127.0.0.1",
            f"unix:{path}",
            self.ssl(),
        ):
            port = await self.listen(text)
            host: Any = port.getHost()
            family = socket.AF_UNIX if text.startswith("unix") else socket.AF_INET
            to = path if text.startswith("unix") else ("127.0.0.1", host.port)
            for _ in range(64):
                one = socket.socket(family)
                self.addCleanup(one.close)
                one.settimeout(0.5)
                one.connect(to)


class StartTests(FileTests):
    def fault(self, text: str) -> str:
        error = str(
            self.assertRaises(StartError, listen_endpoint, MemoryReactor(), text, certificates())
        )
        self.assertNotIn("\n", error)
        self.assertIn(text, error)
        return error

    def test_where_it_listens(self) -> None:
        memory = MemoryReactor()
        files = f"privateKey={self.files.server_key}:certKey={self.files.server_certificate}"
        endpoint = listen_endpoint(
            memory, f"ssl:443:{files}:interface=127.0.0.1:backlog=7", certificates()
        )
        assert isinstance(endpoint, TLSEndpoint)
        factory = Factory()
        self.successResultOf(endpoint.listen(factory))
        ((port, got, backlog, interface),) = memory.tcpServers
        self.assertEqual((port, backlog, interface), (443, 7, "127.0.0.1"))
        assert isinstance(got, FactoryInTurn)
        self.assertIs(got.wrappedFactory, factory)
        verifyObject(IStreamServerEndpoint, endpoint)
        verifyObject(IOpenSSLServerConnectionCreator, endpoint.certificate)

    def test_strings(self) -> None:
        self.assertIn("no kind of endpoint 'foo'", self.fault("foo:80"))
        self.fault("systemd:domain=INET:name=web")
        self.fault("systemd:domain=INET:index=7")
        self.fault("9000")
        self.fault("ssl:http")

    def test_missing_files(self) -> None:
        for name in ("privateKey", "certKey", "extraCertChain", "dhParameters"):
            fault = self.fault(self.ssl(**{name: "/nowhere/file"}))
            self.assertIn("cannot read /nowhere/file: No such file", fault)
        self.assertIn("Is a directory", self.fault(self.ssl(certKey=self.folder)))

    def test_files_of_the_wrong_kind(self) -> None:
        empty = self.folder / "empty"
        empty.write_text("")
        self.assertIn("no private key", self.fault(self.ssl(privateKey=empty)))
        self.assertIn("no private key", self.fault(self.ssl(privateKey=self.files.authority)))
        self.assertIn("no certificate", self.fault(self.ssl(certKey=empty)))
        self.assertIn("no certificate", self.fault(self.ssl(extraCertChain=empty)))
        self.assertIn("OpenSSL refuses", self.fault(self.ssl(dhParameters=empty)))

    def test_files_that_do_not_fit(self) -> None:
        self.assertIn(
            "is not of the certificate", self.fault(self.ssl(certKey=self.files.authority))
        )

    def test_a_passphrase_is_not_asked_for(self) -> None:
        locked = self.folder / "locked.key"
        locked.write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"x"),
            )
        )
        self.assertIn("encrypted", self.fault(self.ssl(privateKey=locked)))
