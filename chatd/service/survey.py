"""Looking at all rooms of a node, of which there may be tens of thousands."""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, define, field
from twisted.internet.interfaces import IReactorTime

from chatd.rooms.registry import RoomRegistry
from chatd.rooms.room import Room
from chatd.timing.turn_queue import TurnQueue

#: Rooms that are looked at in one turn of the reactor.
SLICE = 500


@define(eq=False)
class Survey:
    """Looks at ``rooms``, `SLICE` of them in each turn of the reactor."""

    rooms: RoomRegistry
    clock: IReactorTime
    #: Its own: Prometheus does not wait for long, as for those who catch up.
    _turns: TurnQueue = field(
        default=Factory(lambda self: TurnQueue(self.clock, 1), True), init=False
    )

    async def look(self, see: Callable[[Room], object]) -> None:
        """Call ``see`` with each room that there was at the beginning."""
        for n, room in enumerate(list(self.rooms)):
            if n and n % SLICE == 0:
                await self._turns.wait()
            see(room)
