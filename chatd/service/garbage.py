"""When Python looks for garbage: when memory has grown, and not by how much is said or how many
come."""

from __future__ import annotations

import gc
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from chatd.net.memory import Resident, trim
from chatd.timing.onlooker import Onlooker

#: Seconds between two looks at how much memory is used.
EVERY = 2.0
#: Bytes of memory that may come until all objects are searched, and the share of what there is, if
#: that is more.
BYTES, SHARE = 64 * 1024 * 1024, 1 / 3
#: Bytes of a client who is there, for whom nothing need be searched.
CLIENT = 10 * 1024
#: Collections of younger objects between two of all: as good as never.
NEVER = 1_000_000_000


class GarbageCollection(Onlooker):
    """Decides when all objects are searched for cycles that nobody refers to.

    What nobody refers to is freed at once; only what refers to itself in a cycle has to be searched
    for. What a connection was does not (``tests/integration/test_ended_connections.py``), but
    faults and libraries may leave such cycles. Python searches all objects each time that a quarter
    more have survived two searches among the youngest (see the ``gc`` module), whether they
    are still there or not, so by how many messages have come: with 20,000 clients every 50,000
    messages or so, and for 0.8 s, in which nobody is served. So that is left to this service. The
    younger objects are searched as ever, which takes a millisecond.

    It is for a process that is one node alone, because that is all of the process's objects.
    ``clients`` returns how many are there.
    """

    name = "garbage"

    def __init__(self, clock: IReactorTime, clients: Callable[[], int]) -> None:
        super().__init__(clock)
        self._clients = clients
        self._before = gc.get_threshold()
        self._least = 0
        self._resident: Resident | None = None

    def startService(self) -> None:
        """Take over from Python, if it can be told how much memory is used."""
        super().startService()
        try:
            self._resident = resident = Resident()
        except OSError:
            return  # there is no /proc, as in a bare chroot
        self._before = gc.get_threshold()
        gc.set_threshold(*self._before[:2], NEVER)
        self._least = self._used(resident)
        self._look_in(EVERY)

    def stopService(self) -> None:
        """Leave it to Python again."""
        super().stopService()
        resident, self._resident = self._resident, None
        if resident is not None:
            gc.set_threshold(*self._before)
            resident.close()

    def _used(self, resident: Resident) -> int:
        """Bytes of memory, without those of clients who are there."""
        return resident.bytes() - CLIENT * self._clients()

    def _look(self) -> None:
        resident = self._resident
        if resident is None:
            return
        now = self._used(resident)
        if now - self._least > max(BYTES, resident.bytes() * SHARE):
            gc.collect()
            trim()
            now = self._least = self._used(resident)
        self._least = min(self._least, now)
        self._look_in(EVERY)
