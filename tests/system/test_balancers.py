"""Two nodes behind Apache with the file of ``etc/``: one goes down, the other one is asked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.support.daemon import Daemon
from tests.support.proxy import Apache, Proxy

_open = build_opener(ProxyHandler({})).open


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Daemon, Daemon]]:
    """Two nodes."""
    with Daemon("--trusted-proxy=127.0.0.1") as one, Daemon("--trusted-proxy=127.0.0.1") as two:
        yield one, two


def ask(proxy: Proxy, times: int) -> None:
    """Read and publish; whatever is refused raises."""
    for number in range(times):
        read(proxy.url("/rooms/lobby"))
        path = f"/rooms/lobby/messages?username=user{number}"
        _open(Request(proxy.url(path), b"text=hi", method="POST"), timeout=30).close()


def read(url: str) -> str:
    with _open(url, timeout=30) as answer:
        return str(answer.read().decode())


def test_many_ask_while_one_is_away(nodes: tuple[Daemon, Daemon]) -> None:
    """It has least to do, and is not asked by all of them for that."""
    one, two = nodes
    with Apache(one.http, two.http) as proxy, ThreadPoolExecutor(20) as readers:
        for away, other in ((one, two), (two, one)):
            away.stop()
            list(readers.map(read, [proxy.url("/rooms/lobby")] * 60))
            away.start()
            other.stop()
            list(readers.map(read, [proxy.url("/rooms/lobby")] * 20))
            other.start()


def test_one_goes_down(nodes: tuple[Daemon, Daemon]) -> None:
    one, two = nodes
    with Apache(one.http, two.http) as proxy:
        ask(proxy, 4)
        one.stop()
        ask(proxy, 8)
        one.start()
        two.stop()
        ask(proxy, 8)
        two.start()
        ask(proxy, 4)
