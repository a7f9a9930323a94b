"""What would end start-up, found out before twistd goes into the background.

Once it has, the process that the operator started can only say where the log is.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable

from twisted.internet.error import CannotListenError

from chatd.brokers import registry
from chatd.config.settings import Config
from chatd.net.descriptions import Description


def check(config: Config) -> None:
    """Raise `CannotListenError` for a port in use, `StartError` for a broker that cannot be."""
    _check_ports((*config.websocket, *config.http, *config.setup, *config.metrics))
    registry.preflight(config.broker)


def _check_ports(texts: Iterable[str]) -> None:
    seen: set[tuple[str, int]] = set()
    for text in texts:
        description = Description.parse(text)
        if description.kind not in ("tcp", "tcp6", "ssl"):
            continue
        given = description.arguments
        place = given.get("interface", ""), int(given["port"])
        if place in seen and place[1]:
            in_use = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            raise CannotListenError(*place, in_use)
        seen.add(place)
        _bind(*place, description.kind == "tcp6" or ":" in place[0])


def _bind(interface: str, port: int, six: bool) -> None:
    """Take a port as Twisted would, and give it back at once."""
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((interface, port))
        except OSError as e:
            raise CannotListenError(interface, port, e) from None
