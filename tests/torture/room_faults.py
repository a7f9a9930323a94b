"""What administrators do to rooms, through the set-up port."""

from __future__ import annotations

import asyncio
from random import Random

from tests.torture.faults import Fault
from tests.torture.site import Site


class RoomIsDeleted(Fault):
    """And made again."""

    name = "a room is deleted"
    deletes = True

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        await asyncio.to_thread(site.set_up, op="delete_room", roomname=room)
        await asyncio.sleep(chance.uniform(0, 2))
        await asyncio.to_thread(site.make_room, room)
        return room


class MemberIsRemoved(Fault):
    """And added again."""

    name = "a member is removed"

    @classmethod
    def fits(cls, site: Site) -> bool:
        return bool(site.members)

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        room = chance.choice(sorted(site.members))
        user = chance.choice(site.members[room])
        await asyncio.to_thread(site.set_up, op="remove_member", roomname=room, username=user)
        await asyncio.sleep(chance.uniform(0, 3))
        await asyncio.to_thread(site.set_up, op="add_member", roomname=room, username=user)
        return f"{user} of {room}"


class RoomIsMadeAgain(Fault):
    """Which changes nothing."""

    name = "a room that exists is made"

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        await asyncio.to_thread(site.make_room, room)
        return room
