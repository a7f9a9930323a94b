"""When Python looks for garbage: when memory has grown, and not by how much is said or how many
come."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from chatd.timing.onlooker import Onlooker

#: Seconds between two looks at how much memory is used.
EVERY = 2.0
#: Pieces of memory (of up to 512 bytes; a node that has just begun has 300,000) that may come until
#: all objects are searched, and the share of those there are, if that is more. It is what 5,000
#: clients leave behind; they come back first.
PIECES, SHARE = 500_000, 0.5
#: Pieces of a client that is there, for which nothing need be searched.
CLIENT = 100
#: Collections of younger objects between two of all: as good as never.
NEVER = 1_000_000_000


class GarbageCollection(Onlooker):
    """Decides when all objects are searched for cycles that nobody refers to.

    What nobody refers to is freed at once. Only what refers to itself in a cycle has to be searched
    for, as most of what a connection was when it has ended. Python does so each time that a quarter
    more objects have survived two searches among the youngest (see the ``gc`` module), whether they
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

    def startService(self) -> None:
        """Take over from Python."""
        super().startService()
        self._before = gc.get_threshold()
        gc.set_threshold(*self._before[:2], NEVER)
        self._least = self._pieces()
        self._look_in(EVERY)

    def stopService(self) -> None:
        """Leave it to Python again."""
        super().stopService()
        gc.set_threshold(*self._before)

    def _pieces(self) -> int:
        """Pieces of memory that are there, without those of clients who are."""
        return sys.getallocatedblocks() - CLIENT * self._clients()

    def _look(self) -> None:
        now = self._pieces()
        if now - self._least > max(PIECES, sys.getallocatedblocks() * SHARE):
            gc.collect()
            now = self._least = self._pieces()
        self._least = min(self._least, now)
        self._look_in(EVERY)
