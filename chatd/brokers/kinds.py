"""What a kind of broker tells chatd of itself, so that nothing else need know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from chatd.brokers.interfaces import Retention
from chatd.timing.wall import WallClock


def _nothing(address: str) -> None:
    """There is nothing that could be found out before the start."""


@frozen
class Kind:
    """One kind of broker, known by the ``schemes`` of its addresses (what stands before the colon).

    ``usage`` shows an address to who asks for help. ``check`` raises ValueError, with one line that
    says what to write and shows no password, for an address that cannot be one. ``make`` returns
    the broker at an address that was checked: an `IBroker` and a service. ``preflight`` raises
    `StartError` for what would end the start, before twistd goes into the background.
    """

    schemes: tuple[str, ...]
    usage: str
    check: Callable[[str], None]
    make: Callable[[Any, WallClock, str, Retention], Any]
    preflight: Callable[[str], None] = _nothing
