"""The kinds of broker. To add one, make a folder beside these and add its kind to `KINDS`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from chatd.brokers.interfaces import Retention
from chatd.brokers.kinds import Kind
from chatd.brokers.memory.kind import MEMORY
from chatd.brokers.rabbitmq.kind import RABBITMQ
from chatd.brokers.sqlite.kind import SQLITE
from chatd.timing.wall import WallClock

KINDS = (SQLITE, MEMORY, RABBITMQ)


def usage() -> str:
    """Examples of addresses, for the help of ``--broker``."""
    return ", ".join(kind.usage for kind in KINDS)


def kind_of(address: str) -> Kind:
    """The kind of broker at ``address``. Raises ValueError; its text does not repeat the address,
    which may hold a password."""
    scheme, colon, _ = address.partition(":")
    for kind in KINDS:
        if colon and scheme in kind.schemes:
            return kind
    raise ValueError(f"give {usage()}")


def check(address: str) -> str:
    """Return ``address`` if it is well-formed. Raises ValueError, which says what to write."""
    kind_of(address).check(address)
    return address


def preflight(address: str) -> None:
    """Raise `StartError` for what would make the start of the broker at ``address`` fail."""
    kind_of(address).preflight(address)


def unused(address: str) -> AbstractContextManager[None]:
    """A context in which no other process uses what is at ``address``. Raises `InUse`, or
    `StartError`."""
    return kind_of(address).unused(address)


async def look(reactor: Any, address: str) -> str:
    """What is at ``address``, in a line. `StartError` if it cannot be used now."""
    return await kind_of(address).look(reactor, address)


def broker_at(reactor: Any, wall: WallClock, address: str, retention: Retention) -> Any:
    """The broker at ``address`` (checked): an `IBroker` that is a service."""
    return kind_of(address).make(reactor, wall, address, retention)
