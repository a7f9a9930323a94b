"""How a kind of broker describes itself, so that the rest of chatd need not know it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from attrs import frozen

from chatd.brokers.interfaces import Retention
from chatd.timing.wall import WallClock


def _nothing(address: str) -> None:
    """No preflight."""


def _anyone(address: str) -> AbstractContextManager[None]:
    """For what any number of processes may use."""
    return nullcontext()


@frozen
class Kind:
    """One kind of broker, for addresses with one of ``schemes`` (the part before the colon).

    ``usage`` is an example of an address, for the help text. ``check(address)`` raises ValueError
    for a malformed address, with one line that says what to write and shows no password.
    ``make(reactor, wall, address, retention)`` returns the broker: an `IBroker` that is a service.
    ``look(reactor, address)`` tries what is there, without changing it, and returns a line that
    says what it found; `StartError` if that cannot be used. ``preflight(address)`` raises
    `StartError` for what would make the start fail; it is called before twistd goes into the
    background. ``unused(address)`` keeps other processes from using what is there while its context
    lasts; it raises `InUse` if one does, or `StartError`.
    """

    schemes: tuple[str, ...]
    usage: str
    check: Callable[[str], None]
    make: Callable[[Any, WallClock, str, Retention], Any]
    look: Callable[[Any, str], Awaitable[str]]
    preflight: Callable[[str], None] = _nothing
    unused: Callable[[str], AbstractContextManager[None]] = _anyone
