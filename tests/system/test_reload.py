"""A running chatd told by SIGHUP to read its keys and certificates again, or by SIGUSR1 to open its
logs anew."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import tempfile
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from joserfc import jwt
from joserfc.jwk import OctKey
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import make_certificates
from tests.support.daemon import PATIENCE, Daemon
from tests.support.rabbit_home import free_port

_open = build_opener(ProxyHandler({})).open
ONE, TWO = (OctKey.import_key(f"secret number {n}, of 32 bytes or more") for n in (1, 2))


def token(key: OctKey) -> str:
    return jwt.encode({"alg": "HS256"}, {"sub": "ann", "exp": int(time.time()) + 600}, key)


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def start(self, *options: str) -> Daemon:
        daemon = Daemon(*options, broker="memory:")
        self.addCleanup(daemon.close)
        return daemon

    def hang_up(self, daemon: Daemon) -> None:
        """Send SIGHUP and wait until chatd says that it has done what that asks for."""
        self.tell(daemon, signal.SIGHUP, "Read keys and certificates again")

    def tell(self, daemon: Daemon, number: signal.Signals, done: str) -> None:
        """Send a signal and wait until the log says that it was ``done``."""
        before = daemon.log().count(done)
        os.kill(daemon.pid, number)
        deadline = time.monotonic() + PATIENCE
        while daemon.log().count(done) == before:
            self.assertLess(time.monotonic(), deadline, daemon.log())
            time.sleep(0.02)

    def status(self, daemon: Daemon, key: OctKey) -> int:
        """What ``ann`` gets for a look at the lobby with a token signed by ``key``."""
        shown = token(key)
        request = Request(daemon.url("/rooms/lobby"), headers={"Authorization": f"Bearer {shown}"})
        try:
            with _open(request, timeout=PATIENCE) as response:
                return int(response.status)
        except HTTPError as e:
            with e:
                self.assertNotIn(shown, e.read().decode())
                return e.code

    def test_keys(self) -> None:
        path = self.folder / "key"
        path.write_bytes(ONE.raw_value)
        daemon = self.start("--auth", "token", "--token-key", str(path))
        self.assertEqual([self.status(daemon, key) for key in (ONE, TWO)], [200, 401])
        path.write_bytes(TWO.raw_value)
        self.hang_up(daemon)
        self.assertEqual([self.status(daemon, key) for key in (ONE, TWO)], [401, 200])
        path.write_text("")
        self.hang_up(daemon)
        self.assertEqual([self.status(daemon, key) for key in (ONE, TWO)], [401, 200])
        self.assertIn(f"--token-key: {path} is empty", daemon.log())
        self.assertNotIn("secret number", daemon.log())
        self.assertNotIn("eyJ", daemon.log())

    def test_logs_are_rotated(self) -> None:
        """By SIGUSR1, which reads nothing again."""
        path, log = self.folder / "key", self.folder / "access.log"
        path.write_bytes(ONE.raw_value)
        daemon = self.start("--auth=token", f"--token-key={path}", f"--access-log={log}")
        self.assertEqual(self.status(daemon, ONE), 200)
        log.rename(self.folder / "access.log.1")
        path.write_bytes(TWO.raw_value)
        self.tell(daemon, signal.SIGUSR1, "Opened the logs anew.")
        self.assertEqual(self.status(daemon, ONE), 200)
        self.assertEqual(log.read_text().count("GET /rooms/lobby "), 1)
        self.hang_up(daemon)
        self.assertEqual(self.status(daemon, ONE), 401)

    def test_certificates(self) -> None:
        files = make_certificates(self.folder)
        where = ("127.0.0.1", free_port())
        daemon = self.start(
            "--http",
            f"ssl:{where[1]}:interface={where[0]}"
            f":privateKey={files.server_key}:certKey={files.server_certificate}",
        )
        old = files.server_certificate.read_text()
        lax = ssl.create_default_context()
        lax.check_hostname, lax.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(where, PATIENCE) as plain,
            lax.wrap_socket(plain, server_hostname="localhost") as before,
        ):
            self.assertEqual(ssl.get_server_certificate(where, timeout=PATIENCE), old)
            new = make_certificates(self.folder).server_certificate.read_text()
            self.hang_up(daemon)
            self.assertNotEqual(new, old)
            self.assertEqual(ssl.get_server_certificate(where, timeout=PATIENCE), new)
            before.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertTrue(before.recv(100).startswith(b"HTTP/1.1 200"))
