"""When Python searches for garbage (`gc.collect`): when memory has grown, and not after so many new
objects, as it does by itself."""

from __future__ import annotations

import gc
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from chatd.access.budget import Budget
from chatd.net.memory import Resident, trim
from chatd.service.status import NodeStatus
from chatd.timing.onlooker import Onlooker

#: Seconds between two looks at how much memory is used.
EVERY = 2.0
#: Bytes of memory that may come until all objects are searched, and the share of what there is, if
#: that is more.
BYTES, SHARE = 64 * 1024 * 1024, 1 / 3
#: Bytes of a client who is there, of its place in each room that it takes part in, of such a room,
#: and of a request that waits: what these take is known, and nothing need be searched for it.
CLIENT, PLACE, ROOM, REQUEST = 10 * 1024, 2 * 1024, 8 * 1024, 6 * 1024
#: Bytes that are known the less if clients leave just now.
LEAVING = 1024 * 1024
#: Of the bytes that a search is made for, the share that is to come back; else it was in vain.
WORTH = 1 / 4
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

    What was searched in vain is not searched again before there is more than that: who takes part
    in very many rooms, and leaves, again and again, cannot have it done each time.

    It is for a process that is one node alone, because that is all of the process's objects.
    ``known`` returns how many bytes are in use that it can be told for what; see `known_bytes`.
    """

    name = "garbage"

    def __init__(self, clock: IReactorTime, known: Callable[[], int]) -> None:
        super().__init__(clock)
        self._known = known
        self._before = gc.get_threshold()
        #: The fewest bytes, without those that are known, since the last search.
        self._least = 0
        #: Bytes, with those that are known, that were searched in vain.
        self._in_vain = 0
        self._was_known = 0
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
        self._least, self._in_vain = resident.bytes() - self._known(), 0
        self._look_in(EVERY)

    def stopService(self) -> None:
        """Leave it to Python again."""
        super().stopService()
        resident, self._resident = self._resident, None
        if resident is not None:
            gc.set_threshold(*self._before)
            resident.close()

    def _look(self) -> None:
        resident = self._resident
        if resident is None:
            return
        there, known = resident.bytes(), self._known()
        more = max(BYTES, there * SHARE)
        # when those who leave are gone, there is less to search
        leaving, self._was_known = self._was_known - known > LEAVING, known
        if not leaving and min(there - known - self._least, there - self._in_vain) > more:
            gc.collect()
            trim()
            left = resident.bytes()
            self._in_vain = left if there - left < more * WORTH else 0
            self._least = left - known
        self._least = min(self._least, there - known)
        self._look_in(EVERY)


def known_bytes(status: NodeStatus, *budgets: Budget) -> int:
    """The bytes that clients of the node, what they take part in and ask for, messages, and what
    ``budgets`` are for take."""
    chat = status.node.chat
    rooms = chat.rooms
    objects = CLIENT * status.connections.total + PLACE * rooms.node.places.taken
    objects += ROOM * rooms.count + REQUEST * chat.waiting
    return objects + rooms.node.budget.used + sum(budget.total for budget in budgets)
