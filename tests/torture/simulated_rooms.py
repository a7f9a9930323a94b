"""What becomes of the rooms of a simulation: administrators, operators, retention."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from attrs import define
from twisted.python.failure import Failure

from chatd.brokers.interfaces import DIRECTORY, Retention, Stream
from chatd.brokers.memory.broker import MemoryBroker
from tests.torture.simulated_network import SimulatedClock, SimulatedTime
from tests.torture.simulated_node import SimulatedNode, attempt

PUBLIC, PRIVATE = "hall", "vault"
#: Seconds after which a change of the directory that was not confirmed has happened or never will.
SETTLED = 20.0
#: Seconds, and bytes of each room, of which one is kept in a schedule with retention. A message may
#: be under way for 10 seconds.
AGES, SIZES = (20, 60, 200), (500, 2000, 6000)


def draw_retention(seed: int) -> Retention | None:
    """What is kept in the schedule of a seed; None for all: by age, by size, or all."""
    chance, default = Random(f"retention-{seed}"), Retention()
    match chance.randrange(3):
        case 0:
            return Retention(chance.choice(AGES), default.size)
        case 1:
            return Retention(default.age, chance.choice(SIZES))
        case _:
            return None


def note_records(hub: MemoryBroker, note: Callable[..., Any]) -> None:
    """Note each record that ``hub`` stores in a room, also those that nobody will see."""
    world = hub._world
    append = world.append

    def noted(stream: Stream, body: bytes, time: int) -> None:
        append(stream, body, time)
        if stream != DIRECTORY:
            said, cursor = json.loads(body), f"{stream.life}:{world.log(stream).last}"
            note("stored", room=stream.room, user=said["user"], id=said["id"], cursor=cursor)

    vars(world)["append"] = noted


@define
class Administration:
    """What becomes of the rooms. ``pick`` finds a node that runs, by a number."""

    hub: MemoryBroker
    time: SimulatedTime
    network: SimulatedClock
    pick: Callable[[int], SimulatedNode]
    note: Callable[..., Any]
    crashed: Callable[[Failure], None]

    def make_rooms(self, then: Callable[[bool], Any]) -> None:
        """Have the rooms made, and their members, on whatever node can; ``then`` is told whether
        that was confirmed."""
        directory = self.pick(0).domain.directory
        members = [f"{PRIVATE}-{kind}{n}" for kind in ("writer", "reader") for n in range(2)]

        async def make() -> None:
            await directory.create(PUBLIC)
            await directory.create(PRIVATE, private=True)
            for member in members:
                await directory.add_member(PRIVATE, member)

        attempt(self.crashed, make(), then)

    def delete_room(self, a: int, b: int) -> None:
        """An administrator deletes the room, and makes it again."""
        directory = self.pick(a).domain.directory
        # also where the node ends before it answers
        settled = self.network.callLater(SETTLED, self.note, "deleted", room=PUBLIC)

        def then(confirmed: bool) -> None:
            if confirmed and settled.active():
                settled.cancel()
                self.note("deleted", room=PUBLIC)
            attempt(self.crashed, self.pick(b).domain.directory.create(PUBLIC), lambda _: None)

        attempt(self.crashed, directory.delete(PUBLIC), then)

    def vanish(self, a: int, b: int) -> None:
        """An operator deletes the room's queue."""
        entry = self.pick(a).domain.directory.find((PUBLIC, PRIVATE)[b % 2])
        if entry is not None:
            self.hub.delete(entry.stream)
            self.time.advance(0)
            self.note("deleted", room=entry.name)

    def member(self, a: int, b: int) -> None:
        """A member is removed, and added again a while later."""
        name = f"{PRIVATE}-reader{b % 2}"

        def add(_: object) -> None:
            adding = self.pick(b).domain.directory.add_member(PRIVATE, name)
            attempt(self.crashed, adding, lambda _: None)

        removing = self.pick(a).domain.directory.remove_member(PRIVATE, name)
        attempt(self.crashed, removing, lambda _: self.network.callLater(2, add, None))
