"""Which kinds of broker there are. A new one is a folder beside these, and a word in `KINDS`."""

from __future__ import annotations

from typing import Any

from chatd.brokers.interfaces import Retention
from chatd.brokers.kinds import Kind
from chatd.brokers.memory.kind import MEMORY
from chatd.brokers.rabbitmq.kind import RABBITMQ
from chatd.brokers.sqlite.kind import SQLITE
from chatd.timing.wall import WallClock

KINDS = (SQLITE, MEMORY, RABBITMQ)


def usage() -> str:
    """Which addresses there are, for the help of ``--broker``."""
    return ", ".join(kind.usage for kind in KINDS)


def kind_of(address: str) -> Kind:
    """The kind of broker at ``address``. The ValueError for none repeats nothing of it: it may be
    mistyped, and hold a password."""
    scheme, colon, _ = address.partition(":")
    for kind in KINDS:
        if colon and scheme in kind.schemes:
            return kind
    raise ValueError(f"give {usage()}")


def check(address: str) -> str:
    """``address`` if it can be a broker's; ValueError says what to write instead."""
    kind_of(address).check(address)
    return address


def preflight(address: str) -> None:
    """Raise `StartError` for what would end the start of the broker at ``address``."""
    kind_of(address).preflight(address)


def broker_at(reactor: Any, wall: WallClock, address: str, retention: Retention) -> Any:
    """The broker at ``address``, as ``--broker`` gives it: an `IBroker` and a service."""
    return kind_of(address).make(reactor, wall, address, retention)
