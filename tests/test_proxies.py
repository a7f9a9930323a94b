"""The chat page behind real web servers with the configuration files of ``etc/``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser_suite import BrowserSuite, browser, daemon, relay, room, rooms, visit
from tests.daemon import Daemon
from tests.proxy import Apache, Nginx, Proxy

__all__ = ["browser", "daemon", "relay", "room", "rooms", "visit"]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", params=[Nginx, Apache], ids=["nginx", "apache"])
def proxy(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Proxy]:
    """A web server in front of the daemon."""
    kind: type[Proxy] = request.param
    with kind(daemon.http) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def front(proxy: Proxy) -> tuple[str, int]:
    """Browsers come to the web server."""
    return ("127.0.0.1", proxy.port)


class TestBehind(BrowserSuite):
    """Behind it, everything works as without it."""
