"""Secrets stay where they are: none in a log, an answer, a metric or a process list."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from attrs import evolve
from joserfc import jwt
from joserfc.jwk import OctKey
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.config.options import Options
from chatd.config.settings import Config
from chatd.tap import ChatService
from tests.support.daemon import PATIENCE, ROOT, TWISTD, Daemon, spawn
from tests.support.rabbit_home import free_port

KEY = "token-key-0123456789abcdef0123456789abcdef"
ADMIN = "admin-key-0123456789"
SETUP = "setup-secret-0123456789"
PASSWORD = "broker-password-0123456789"
_open = build_opener(ProxyHandler({})).open


def token(**claims: object) -> str:
    """A token of ann."""
    claims = {"sub": "ann", "exp": int(time.time()) + 600, **claims}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(KEY))


class SecretTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name: str, content: str) -> str:
        path = self.folder / name
        path.write_text(content)
        return str(path)

    def wait(self, condition: Callable[[], object], log: Callable[[], str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, log())
            time.sleep(0.02)

    def clean(self, text: str, *shown: str) -> None:
        """No secret in ``text``, nor any token of ``shown``, nor a part of one."""
        for secret in (KEY, ADMIN, SETUP, PASSWORD):
            self.assertFalse(secret in text, _around(secret, text))
        for one in shown:
            for part in one.split("."):
                if len(part) > 8:
                    self.assertFalse(part in text, _around(part, text))


def _around(secret: str, text: str) -> str:
    before, _, after = text.partition(secret)
    return f"{secret!r} in {(before[-300:] + secret + after[:100])!r}"


def talk(address: tuple[str, int], sent: bytes) -> str:
    """What is answered to ``sent``, as far as it comes in one piece."""
    with socket.create_connection(address, PATIENCE) as raw:
        raw.sendall(sent)
        return raw.recv(65536).decode("latin-1")


def handshake(path: str, *headers: str) -> bytes:
    """A WebSocket handshake."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class DaemonTests(SecretTests):
    def test_driven_with_secrets_everywhere(self) -> None:
        """Right and wrong ones, in every place where a client can put one."""
        key = self.file("token-key", KEY)
        env = {
            "CHATD_AUTH": "token",
            "CHATD_TOKEN_KEY": key,
            "CHATD_ADMIN_KEY": self.file("admin-key", ADMIN),
            "CHATD_SETUP_SECRET": self.file("setup-secret", SETUP),
            "CHATD_ACCESS_LOG": str(self.folder / "access.log"),
        }
        daemon = Daemon("--room", "lobby", broker="memory:", env=env)
        self.addCleanup(daemon.close)
        good, bad = token(), token(sub="a b")
        late, strange = token(exp=1), token()[:-3] + "xyz"
        every = [good, bad, late, strange, ADMIN, ADMIN + "x", "eyJ" + "A" * 9000]
        said = [daemon.log()]
        for one in every:
            for path in (
                "/rooms/lobby",
                "/rooms/lobby/messages",
                "/poll?roomname=lobby",
                "/rooms",
                "/nothing",
                "/",
                "/ws",
                "/rooms/%ff",
            ):
                query = f"{'&' if '?' in path else '?'}token={one}"
                said += [self.get(daemon, path + query), self.get(daemon, path, one)]
            said.append(self.get(daemon, "/rooms/lobby/messages", one, b"text=x"))
            posted = f"/rooms/lobby/messages?token={one}"
            said.append(self.get(daemon, posted, None, b"\xff{"))
            for address in (daemon.websocket, daemon.http):
                for protocol in ("Sec-WebSocket-Protocol: chatd.v1", "X-Nothing: 1"):
                    path = f"/ws?roomname=lobby&token={one}"
                    said.append(talk(address, handshake(path, protocol)))
                    bearing = f"Authorization: Bearer {one}"
                    said.append(talk(address, handshake("/ws", protocol, bearing)))
                said.append(talk(address, handshake(f"/ws?token={one}", "Upgrade: x", "Host: y")))
                said.append(talk(address, f"GET /?token={one}\r\n\r\n".encode()))
        for secret in (SETUP, SETUP + "x"):
            for rest in ('"roomname":"made"}\n', '"roomname":""}\n', '"roomname":}\n'):
                said.append(talk(daemon.setup, f'{{"secret":"{secret}",{rest}'.encode()))
        Path(key).write_text(f"-----BEGIN PRIVATE KEY-----\n{KEY}\n")
        os.kill(daemon.pid, signal.SIGHUP)
        self.wait(lambda: "Not reloaded" in daemon.log(), daemon.log)
        said.append(self.get(daemon, "/metrics"))
        cmdline = Path(f"/proc/{daemon.pid}/cmdline").read_text()
        daemon.stop()
        asked = (self.folder / "access.log").read_text()
        self.assertIn("GET /rooms/lobby/messages", asked)
        self.clean(asked, *every)
        self.assertNotIn("token=", asked)
        self.clean(daemon.log(), *every)
        self.assertNotIn("Traceback", daemon.log())
        self.assertNotIn("token=", daemon.log())
        self.clean("\n".join(said), *every)
        self.clean(cmdline, *every)

    def get(
        self, daemon: Daemon, path: str, bearing: str | None = None, body: bytes | None = None
    ) -> str:
        """Headers and body of an answer."""
        headers = {"Authorization": f"Bearer {bearing}"} if bearing else {}
        request = Request(daemon.url(path), body, headers)
        try:
            with _open(request, timeout=PATIENCE) as response:
                return f"{response.headers}{response.read().decode()}"
        except HTTPError as e:
            with e:
                return f"{e.headers}{e.read().decode()}"

    def test_the_brokers_password(self) -> None:
        """Given by the environment or by a file, with a broker that cannot be reached."""
        for way in ("environment", "file"):
            where, http = free_port(), free_port()
            url = f"amqp://chatd:{PASSWORD}@127.0.0.1:{where}/chatd"
            options = ["--websocket=off", "--setup=off", f"--http=tcp:{http}:interface=127.0.0.1"]
            env = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
            if way == "environment":
                env["CHATD_BROKER"] = url
            else:
                options += ["--config", self.file("chatd.toml", f'broker = "{url}"\n')]
            log = self.folder / f"{way}.log"
            command = [sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "chatd", *options]
            process = spawn(*command, folder=self.folder, log=log, env=env)
            self.addCleanup(_end, process)
            self.wait(lambda: log.exists() and str(where) in log.read_text(), log.read_text)
            self.wait(lambda: self.answers(http), log.read_text)
            self.assertIn(str(where), log.read_text())
            self.clean(log.read_text())
            self.clean(Path(f"/proc/{process.pid}/cmdline").read_text())
            _end(process)

    def answers(self, port: int) -> bool:
        try:
            with _open(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
                self.clean(response.read().decode())
                return True
        except (URLError, OSError):
            return False


class ReprTests(SecretTests):
    """What a traceback with values, or a careless line in a log, would show."""

    def config(self) -> Config:
        options = Options({"CHATD_BROKER": f"amqp://chatd:{PASSWORD}@broker/chatd"})
        options.parseOptions(
            [
                *("--auth", "token", "--token-key", self.file("token-key", KEY)),
                *("--admin-key", self.file("admin-key", ADMIN)),
                *("--setup-secret", self.file("setup-secret", SETUP)),
            ]
        )
        return options.config

    def test_values(self) -> None:
        config = self.config()
        self.clean(repr(config))
        self.clean(str(config))
        service = ChatService(Clock(), evolve(config, websocket=(), http=(), setup=()))
        shown = token()
        assert service.admission.rights.tokens is not None
        identity = service.admission.rights.tokens.verify(shown, 0.0)
        for value in (
            service.admission,
            service.admission.rights.tokens,
            service.broker,
            identity,
            service.chat,
        ):
            self.clean(repr(value), shown)
            self.clean(repr(getattr(value, "__dict__", "")), shown)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
