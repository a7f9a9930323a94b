"""Endpoint strings for sockets that a service manager passed on, where there is none."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from chatd.config.access import make_admission
from chatd.config.advice import warnings
from chatd.config.options import Options
from chatd.config.preflight import check_apart
from chatd.config.settings import Config
from chatd.errors import StartError
from chatd.net import inherited
from chatd.net.certificates import Certificates
from chatd.net.endpoints import listen_endpoint
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.wall import WallClock


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("systemd:domain=INET:name=web", "no such socket was passed"),
        ("systemd:domain=inet:name=web", "'inet' is not a domain (INET, INET6 or UNIX)"),
        ("systemd:domain=INET", "systemd: needs an index= or a name="),
        ("systemd:domain=INET:index=0:name=web", "systemd: needs an index= or a name="),
        ("systemd:domain=INET:index=-1", "'-1' is not an index"),
        ("systemd:", "systemd: the domain is missing"),
        ("systemd:domain=INET:port=1", "systemd: knows no port="),
    ],
)
def test_what_is_wrong_is_said(endpoint: str, why: str) -> None:
    with pytest.raises(StartError, match=f"^{re.escape(endpoint)}: .*{re.escape(why)}"):
        listen_endpoint(None, endpoint, Certificates(lambda *_: pytest.fail("nobody connects")))


@pytest.fixture
def two_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a socket unit with two ``ListenStream=`` passes, as Twisted finds it."""

    def server_from_string(_: object, text: str) -> SimpleNamespace:
        descriptors = {"index=0": 3, "index=1": 4, "name=http": 4}
        return SimpleNamespace(fileno=descriptors[text.rpartition(":")[2]])

    monkeypatch.setattr(inherited, "serverFromString", server_from_string)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Passes on a socket; returns what names it."""
    with ExitStack() as ended:

        def pass_on(family: int, address: Any, listens: bool = True) -> str:
            sock = ended.enter_context(socket.socket(family))
            sock.bind(address)
            if listens:
                sock.listen()
            found = SimpleNamespace(fileno=sock.fileno())
            monkeypatch.setattr(inherited, "serverFromString", lambda *_: found)
            inherited.bound_to.cache_clear()
            return "systemd:domain=INET:index=0"

        yield pass_on
    inherited.bound_to.cache_clear()


def test_what_a_socket_is_bound_to(passed: Callable[..., str], tmp_path: Path) -> None:
    for family, address, domain, loopback in (
        (socket.AF_INET, ("127.0.0.1", 0), "INET", True),
        (socket.AF_INET, ("0.0.0.0", 0), "INET", False),
        (socket.AF_INET6, ("::1", 0), "INET6", True),
        (socket.AF_INET6, ("::", 0), "INET6", False),
        (socket.AF_UNIX, os.fspath(tmp_path / "a"), "UNIX", True),
    ):
        text = passed(family, address)
        assert inherited.is_loopback(text) is loopback
        inherited.check_domain(text, domain)
        with pytest.raises(StartError, match=f"say domain={domain}$"):
            inherited.check_domain(text, "INET6" if domain == "INET" else "INET")


def test_what_does_not_listen_is_refused(passed: Callable[..., str]) -> None:
    text = passed(socket.AF_INET, ("127.0.0.1", 0), listens=False)
    assert not inherited.is_loopback(text)
    with pytest.raises(StartError, match="set Accept=no"):
        inherited.check_domain(text, "INET")


def configured(*options: str) -> Config:
    parsed = Options({})
    parsed.parseOptions(["--broker=memory:", "--websocket=off", "--setup=off", *options])
    return parsed.config


@pytest.mark.usefixtures("two_of_a_name")
def test_a_socket_that_nobody_takes_is_told_of() -> None:
    """Who connects to it would wait in vain, and nobody would know why."""
    clock = Clock()

    def told(*options: str) -> list[str]:
        config = configured(*options)
        admission = make_admission(config, clock, WallClock(clock), TimerWheel(clock))
        return [line for line in warnings(config, admission) if "in vain" in line]

    [line] = told("--http=systemd:domain=INET:name=http")
    assert "no port takes (index=0)" in line
    assert len(told("--http=tcp:0:interface=127.0.0.1")) == 2
    both = [f"--http=systemd:domain=INET:index={n}" for n in (0, 1)]
    assert told(*both) == []
    assert told(both[0], "--metrics=haproxy:systemd:domain=INET:index=1") == []


@pytest.mark.usefixtures("two_of_a_name")
def test_a_socket_that_two_take_is_refused() -> None:
    config = configured(
        "--http=systemd:domain=INET:name=http", "--metrics=systemd:domain=INET:index=1"
    )
    with pytest.raises(StartError, match=r"^--metrics: cannot listen on .*: --http has the socket"):
        check_apart(config)
