"""``systemd:`` endpoints, started by ``systemd-socket-activate``: what a socket unit does."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.daemon import PATIENCE, ROOT, TWISTD, spawn
from tests.support.rabbit_home import free_port

CHATD = (sys.executable, "-c", TWISTD, "--nodaemon", "chatd", "--broker=memory:")
OFF = ("--websocket=off", "--setup=off")
Process = subprocess.Popen[bytes]


@contextmanager
def activated(folder: Path, address: str, *options: str) -> Iterator[Process]:
    """What becomes chatd with the first connection to ``address``, a socket called ``web``. Its
    output is in ``folder``, and so is the socket ``notify`` that it tells."""
    own = ("PYTHONPATH", "PATH", "NOTIFY_SOCKET")
    process = spawn(
        "systemd-socket-activate",
        f"--listen={address}",
        "--fdname=web",
        *(f"--setenv={name}" for name in own),
        *CHATD,
        *OFF,
        *options,
        folder=folder,
        log=folder / "log",
        env={"PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(folder / "notify")},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def connect(family: socket.AddressFamily, address: tuple[str, int] | str) -> socket.socket:
    """Connect as soon as somebody listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        connection = socket.socket(family)
        connection.settimeout(PATIENCE)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return connection


def ask(connection: socket.socket, path: str = "/healthz", host: str = "127.0.0.1") -> int:
    """The status of ``path``; the connection is used up."""
    http = HTTPConnection(host)
    http.sock = connection
    http.request("GET", path, headers={"Host": host, "Connection": "close"})
    with http.getresponse() as answer:
        return answer.status


def test_the_first_connection_starts_it_and_is_served(tmp_path: Path) -> None:
    """Who comes while nobody runs waits, and is answered. The manager hears of it all."""
    port = free_port()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        activated(tmp_path, f"127.0.0.1:{port}", "--http=systemd:domain=INET:name=web") as process,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        assert ask(connect(socket.AF_INET, ("127.0.0.1", port))) == 200
        # the socket is known to be of this machine only, so a foreign name is refused
        assert ask(connect(socket.AF_INET, ("127.0.0.1", port)), "/", "evil.example") == 403
        told = []
        while "READY=1" not in told:
            told += manager.recv(4096).decode().split("\n")
        process.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in told:
            told += manager.recv(4096).decode().split("\n")
        assert process.wait(PATIENCE) == -signal.SIGTERM
    assert any(line.startswith("STATUS=Serving;") for line in told)


def test_a_unix_socket_by_its_place(tmp_path: Path) -> None:
    path = str(tmp_path / "chatd.sock")
    with activated(tmp_path, path, "--http=systemd:domain=UNIX:index=0"):
        assert ask(connect(socket.AF_UNIX, path)) == 200


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("systemd:domain=INET6:name=web", "what was passed is of another domain; say domain=INET"),
        ("systemd:domain=INET:name=wbe", "no such socket was passed to this process"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(tmp_path: Path, endpoint: str, why: str) -> None:
    port = free_port()
    with activated(tmp_path, f"127.0.0.1:{port}", f"--http={endpoint}") as process:
        connect(socket.AF_INET, ("127.0.0.1", port)).close()
        assert process.wait(PATIENCE) == 1
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if "chatd: " in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"chatd: --http: {endpoint}: {why}")
