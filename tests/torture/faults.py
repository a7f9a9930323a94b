"""What a fault is: something that breaks, waits, and is mended again.

Each is a class in one of the modules ``*_faults``; to write the class is to have it drawn.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from tests.torture.site import ChatNode, Site

#: All faults, in the order in which they are drawn from.
FAULTS: list[type[Fault]] = []


class Fault(ABC):
    """A fault of the name it is told by."""

    name: ClassVar[str]
    #: How many brokers it takes; it is drawn ``weight`` times as often as another.
    brokers: ClassVar[int] = 0
    weight: ClassVar[int] = 1
    #: Whether what was said in the room so far may be gone afterwards.
    deletes: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            FAULTS.append(cls)

    @classmethod
    def fits(cls, site: Site) -> bool:
        """Whether it can happen there."""
        return len(site.rabbits) >= cls.brokers

    @abstractmethod
    async def happen(self, site: Site, chance: random.Random, room: str) -> str:
        """Break, wait and mend; what was broken. Raises RuntimeError or OSError if it cannot."""


def some_node(site: Site, chance: random.Random) -> ChatNode:
    """A node of the site's."""
    return chance.choice(site.nodes)


async def for_a_while(
    chance: random.Random, longest: float, mend: Callable[[], Any], shortest: float = 0.5
) -> None:
    """Wait for some seconds, then ``mend``, whatever happens meanwhile."""
    try:
        await asyncio.sleep(chance.uniform(shortest, longest))
    finally:
        await asyncio.to_thread(mend)
