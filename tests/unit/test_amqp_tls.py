"""TLS to RabbitMQ, met in memory: its versions and ciphers are those of the ports (RFC 9325)."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from unittest import mock

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.hosts import Hosts
from chatd.amqp.tls import tls_options
from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import Stream, Unavailable
from chatd.brokers.rabbitmq.witnesses import Witnesses
from tests.support.certificates import make_certificates


class BrokerTLSTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.files = make_certificates(Path(folder.name))

    def client(self) -> SSL.Connection:
        """What chatd opens to ``localhost``."""
        url = BrokerURL.parse(f"amqps://localhost/?cacertfile={self.files.authority}")
        connection = tls_options(url, "localhost").clientConnectionForTLS(mock.Mock())
        assert isinstance(connection, SSL.Connection)
        connection.set_connect_state()
        return connection

    def server(self, version: int, ciphers: bytes) -> SSL.Connection:
        """A broker that speaks ``version`` at most, and only these ciphers of TLS 1.2."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(version)
        context.set_cipher_list(ciphers + b":@SECLEVEL=0")
        context.use_privatekey_file(str(self.files.server_key))
        context.use_certificate_chain_file(str(self.files.server_certificate))
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        return connection

    def shake_hands(self, version: int, ciphers: bytes) -> bool:
        """Whether chatd and such a broker agree."""
        ends = self.client(), self.server(version, ciphers)
        done = [False, False]
        for _ in range(10):
            for n, end in enumerate(ends):
                try:
                    end.do_handshake()
                    done[n] = True
                except SSL.WantReadError:
                    pass
                except SSL.Error:
                    return False
                with contextlib.suppress(SSL.WantReadError):
                    ends[1 - n].bio_write(end.bio_read(65536))
        return all(done)

    def test_versions_and_ciphers(self) -> None:
        for version, ciphers, agreed in (
            (SSL.TLS1_3_VERSION, b"ALL", True),
            (SSL.TLS1_2_VERSION, b"ECDHE+AESGCM", True),
            (SSL.TLS1_2_VERSION, b"ECDHE+CHACHA20", True),
            (SSL.TLS1_2_VERSION, b"ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA", False),
            (SSL.TLS1_2_VERSION, b"ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384", False),
            (SSL.TLS1_1_VERSION, b"ALL", False),
        ):
            self.assertEqual(self.shake_hands(version, ciphers), agreed, (version, ciphers))

    def test_no_other_cipher_is_offered(self) -> None:
        """No static RSA either, for a broker whose certificate could do with it."""
        for name in self.client().get_cipher_list():
            self.assertRegex(name, r"^(TLS_|ECDHE-(RSA|ECDSA)-(AES(128|256)-GCM|CHACHA20)-)")


class WitnessTests(SynchronousTestCase):
    def test_files_that_cannot_be_used_for_a_moment(self) -> None:
        """They are being renewed: no host can be asked, and that says nothing of the stream."""
        url = BrokerURL.parse("amqps://one,two/?cacertfile=/nowhere/ca.pem")
        asked = Deferred.fromCoroutine(
            Witnesses(reactor, url, Hosts(2).addresses).confirm(Stream("lobby", "e"))
        )
        why = str(self.failureResultOf(asked, Unavailable).value)
        self.assertIn("/nowhere/ca.pem (cacertfile) cannot be read", why)
