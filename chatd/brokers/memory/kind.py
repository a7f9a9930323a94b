"""``memory:``: rooms that last as long as the process."""

from __future__ import annotations

from typing import Any

from chatd.brokers.interfaces import Retention
from chatd.brokers.kinds import Kind
from chatd.brokers.memory.broker import MemoryBroker
from chatd.timing.wall import WallClock


def _check(address: str) -> None:
    if address != "memory:":
        raise ValueError("memory: takes nothing after the colon")


def _make(reactor: Any, wall: WallClock, address: str, retention: Retention) -> MemoryBroker:
    return MemoryBroker(reactor, retention, wall=wall)


async def _look(reactor: Any, address: str) -> str:
    return "memory: rooms and messages are gone when chatd stops"


MEMORY = Kind(("memory",), "memory:", _check, _make, _look)
