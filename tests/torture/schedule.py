"""A seeded schedule of faults."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Collection
from itertools import count

from tests.torture import broker_faults, network_faults, node_faults, room_faults
from tests.torture.faults import FAULTS
from tests.torture.history import Recorder
from tests.torture.site import Site

#: Where the faults are.
MODULES = (node_faults, broker_faults, network_faults, room_faults)


class Schedule:
    """Breaks one thing after the other until told to stop; the same seed, the same schedule.

    Each fault is drawn by its number. With ``keep`` only the faults of these numbers happen, as
    they would among the others.
    """

    def __init__(
        self,
        site: Site,
        rooms: list[str],
        recorder: Recorder,
        seed: int,
        only: str = "",
        keep: Collection[int] | None = None,
    ) -> None:
        self._site = site
        self._rooms = rooms
        self._note = recorder.note
        self._seed = seed
        self._keep = keep
        self._faults = [fault for fault in FAULTS if fault.fits(site) and only in fault.name]
        self.broken = 0
        self.stopping = False

    async def run(self) -> None:
        """Break and mend, until told to stop; what is broken then is mended first."""
        for number in count() if self._keep is None else sorted(self._keep):
            chance = random.Random(f"faults-{self._seed}-{number}")
            await asyncio.sleep(chance.uniform(1, 6))
            if self.stopping:
                return
            weights = [fault.weight for fault in self._faults]
            [fault] = chance.choices(self._faults, weights)
            room = chance.choice(self._rooms)
            self._note("fault", what=fault.name, number=number, begins=True)
            self.broken = number + 1
            with contextlib.suppress(RuntimeError, OSError):
                where = await fault().happen(self._site, chance, room)
                self._note("fault", what=fault.name, number=number, where=where, begins=False)
            if fault.deletes:
                self._note("deleted", room=room)
