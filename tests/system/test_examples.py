"""The programs of ``docs/examples``, run as a shell would: what they print, and their status."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.daemon import PATIENCE, ROOT, Daemon
from tests.support.rabbit_home import free_port


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A node that takes short texts only."""
    with Daemon("--max-text=10") as daemon:
        yield daemon


def chat(
    port: tuple[str, int], *lines: str, room: str = "lobby", user: str = "ann"
) -> subprocess.CompletedProcess[str]:
    """``chat.py``, with ``lines`` on its standard input."""
    return subprocess.run(
        [
            *(sys.executable, str(ROOT / "docs" / "examples" / "chat.py")),
            *(room, user, f"ws://{port[0]}:{port[1]}/"),
        ],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_what_is_said_is_said(daemon: Daemon) -> None:
    done = chat(daemon.websocket, "hello", "again")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_room_that_is_not_there(daemon: Daemon) -> None:
    done = chat(daemon.websocket, "hello", room="nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no room nowhere" in done.stderr


def test_a_message_that_is_refused(daemon: Daemon) -> None:
    done = chat(daemon.websocket, "hello", "much too long", "again")
    assert done.returncode == 1
    assert "at most 10 bytes" in done.stderr


def test_a_name_that_is_refused(daemon: Daemon) -> None:
    done = chat(daemon.websocket, user="\N{ZERO WIDTH SPACE}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "400" in done.stderr


@contextmanager
def smallest(daemon: Daemon, room: str) -> Iterator[subprocess.Popen[str]]:
    """``smallest.py``, on pipes."""
    program = str(ROOT / "docs" / "examples" / "smallest.py")
    with subprocess.Popen(
        [sys.executable, program, room, "ann", daemon.url("")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_smallest_says_and_hears(daemon: Daemon) -> None:
    with smallest(daemon, "lobby") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in ("one\n", "two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == f"ann: {line}"
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def test_the_smallest_is_refused_while_it_waits(daemon: Daemon) -> None:
    """A refusal of either thread ends it, and is told."""
    daemon.create_room("passing")
    with smallest(daemon, "passing") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("one\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ann: one\n"
        with socket.create_connection(daemon.setup) as setup:
            setup.sendall(b'{"roomname":"passing","op":"delete_room"}\n')
            assert setup.recv(100) == b"200\n"
        assert process.wait(PATIENCE) == 1
        assert "unknown_room" in process.stderr.read()


def test_a_server_that_is_not_there() -> None:
    done = chat(("127.0.0.1", free_port()), "hello")
    assert (done.returncode, done.stdout) == (1, "")
    assert "refused" in done.stderr
