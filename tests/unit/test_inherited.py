"""Endpoint strings for sockets that a service manager passed on, where there is none."""

from __future__ import annotations

import re

import pytest

from chatd.errors import StartError
from chatd.net.certificates import Certificates
from chatd.net.endpoints import listen_endpoint


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
