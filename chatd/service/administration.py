"""What administrators do with rooms, over HTTP and on the set-up port."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from chatd.directory.directory import Directory
from chatd.protocol.errors import ChatError, Code

#: ``Retry-After`` where there are as many rooms as there may be, in seconds.
FULL_RETRY = 60


@define(eq=False)
class Administration:
    """Rooms made for others, not more than ``max_rooms`` in all. Whether the caller may is asked
    of `Rights` before; ``count`` is called with the address from which a room is made, and refuses
    one too many."""

    directory: Directory
    max_rooms: int
    count: Callable[[str], None]
    #: Rooms that are being made.
    _adding: int = field(default=0, init=False)

    async def create(self, name: str, private: bool, address: str) -> bool:
        """Make the room ``name`` unless it exists; whether it is new."""
        if self.directory.find(name) is not None:
            return await self.directory.create(name, private)
        if len(self.directory) + self._adding >= self.max_rooms:
            raise ChatError(
                Code.UNAVAILABLE,
                f"There are {self.max_rooms} rooms, as many as --max-rooms allows; delete one.",
                retry=FULL_RETRY,
            )
        self.count(address)
        self._adding += 1
        try:
            return await self.directory.create(name, private)
        finally:
            self._adding -= 1

    async def put(self, name: str, private: bool | None, address: str) -> bool:
        """As `create`; a room that exists is made private or public, if that is said."""
        new = await self.create(name, private is True, address)
        if not new and private is not None:
            await self.directory.set_private(name, private)
        return new
