"""Administration of rooms, for the HTTP routes and the set-up port."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from chatd.directory.directory import Directory
from chatd.protocol.errors import ChatError, Code

#: ``Retry-After``, in seconds, when there are as many rooms as ``--max-rooms`` allows.
FULL_RETRY = 60


@define(eq=False)
class Administration:
    """Creates rooms, up to ``max_rooms`` on all nodes. The caller has checked the right
    (`Rights.check_admin`, `Rights.check_setup`). ``count`` is called with the client's address for
    each room made, and raises `ChatError` rate_limited."""

    directory: Directory
    max_rooms: int
    count: Callable[[str], None]
    #: Rooms being created at present.
    _adding: int = field(default=0, init=False)

    async def create(self, name: str, private: bool, address: str) -> bool:
        """Create the room ``name`` unless it exists; whether it is new. Raises `ChatError`
        unavailable or rate_limited."""
        if self.directory.loaded:
            await self.directory.sync.catch_up()
        if self.directory.find(name) is not None:
            # another node may just have deleted it; and nothing is ready on a broker that is away
            await self.directory.sync.reach(spaced=False)
        if self.directory.find(name) is not None:
            return await self.directory.create(name, private)
        if len(self.directory) + self._adding >= self.max_rooms:
            raise ChatError(
                Code.UNAVAILABLE,
                f"There are {self.max_rooms} rooms, as many as --max-rooms allows; delete one.",
                retry=FULL_RETRY,
                stored=False,
            )
        self.count(address)
        self._adding += 1
        try:
            return await self.directory.create(name, private)
        finally:
            self._adding -= 1

    async def put(self, name: str, private: bool | None, address: str) -> bool:
        """As `create`; a room that exists is made private or public unless ``private`` is None."""
        new = await self.create(name, private is True, address)
        if not new and private is not None:
            await self.directory.set_private(name, private)
        return new
