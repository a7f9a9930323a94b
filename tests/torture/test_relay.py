"""The relay between a node and its brokers spoils connections as it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.proxy import Relay

#: Seconds within which something comes, and after which nothing is taken to come.
SOON, NEVER = 10.0, 0.05


def echo(listener: socket.socket) -> None:
    """Answer each connection with what it says."""

    def answer(one: socket.socket) -> None:
        with one:
            while said := one.recv(100):
                one.sendall(said)

    while True:
        try:
            one, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(one,), daemon=True).start()


@pytest.fixture
def relay() -> Iterator[Relay]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
        with Relay(listener.getsockname()) as relay:
            yield relay
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def client(relay: Relay) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", relay.port), SOON) as client:
        assert said(client, b"one") == b"one"
        yield client


def said(client: socket.socket, data: bytes, within: float = SOON) -> bytes:
    """What comes back; nothing if nothing does in time."""
    client.sendall(data)
    client.settimeout(within)
    try:
        return client.recv(100)
    except TimeoutError:
        return b""


@pytest.mark.parametrize("answers", [False, True])
def test_what_is_held_back_comes_later(relay: Relay, client: socket.socket, answers: bool) -> None:
    relay.hold(answers)
    assert said(client, b"two", NEVER) == b""
    relay.mend()
    client.settimeout(SOON)
    assert client.recv(100) == b"two"


def test_what_is_abandoned_stays_open_and_silent(relay: Relay, client: socket.socket) -> None:
    relay.abandon()
    assert said(client, b"two", NEVER) == b""
    with socket.create_connection(("127.0.0.1", relay.port), SOON) as other:
        assert said(other, b"three") == b"three"


def test_what_is_slow_comes(relay: Relay, client: socket.socket) -> None:
    relay.delay = 2 * NEVER
    assert said(client, b"two", NEVER) == b""
    client.settimeout(SOON)
    assert client.recv(100) == b"two"


def test_what_is_cut_ends(relay: Relay, client: socket.socket) -> None:
    relay.cut()
    client.settimeout(SOON)
    assert client.recv(100) == b""
    relay.mend()
    with socket.create_connection(("127.0.0.1", relay.port), SOON) as other:
        assert said(other, b"three") == b"three"
