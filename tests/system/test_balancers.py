"""Two nodes behind Apache with the file of ``etc/``: one goes down, the other one is asked."""

from __future__ import annotations

from collections.abc import Iterator
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
        _open(proxy.url("/rooms/lobby"), timeout=30).close()
        path = f"/rooms/lobby/messages?username=user{number}"
        _open(Request(proxy.url(path), b"text=hi", method="POST"), timeout=30).close()


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
