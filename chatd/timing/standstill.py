"""What becomes due while this process stands still: it was stopped, its machine suspended, or it
had no processor.

All of it would be done at once when it goes on, for delayed calls are made before sockets are read:
who wrote in time would be taken for silent, and what was confirmed meanwhile for lost. So it is put
off until what has come meanwhile is read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

from twisted.application.service import Service

from chatd.timing.nothing import nothing

#: Seconds by which it is put off, and those that keep what was due at different times in its order.
READ, APART = 0.5, 1e-6


class Standstills(Service):
    """Those of the process whose reactor is ``reactor``, a `chatd.timing.steady.steady` one. While
    the service runs, what becomes due meanwhile is put off.

    It is for a process that is one node alone, whose reactor that is.
    """

    name = "standstills"

    def __init__(self, reactor: Any) -> None:
        #: Called at once when there was one, for what must not be put off.
        self.on_standstill: Callable[[], object] = nothing
        #: How often the process has stood still so far, as of the last reading of the clock. Asked
        #: for each message, so it is one call of a function of C.
        self.count: Callable[[], int] = partial(getattr, reactor.seconds, "standstills")
        self._reactor = reactor
        #: How many there had been by the last turn, and whether calls were put off in that one: a
        #: process that is always late must come to make them.
        self._known = 0
        self._put_off = False

    def startService(self) -> None:
        """Take over how the reactor makes delayed calls."""
        super().startService()
        self._known = self._count_now()
        self._reactor.runUntilCurrent = self._turn

    def stopService(self) -> None:
        """Leave it to the reactor again."""
        super().stopService()
        del self._reactor.runUntilCurrent

    def _count_now(self) -> int:
        self._reactor.seconds()
        return self.count()

    def _turn(self) -> None:
        """See `twisted.internet.base.ReactorBase.runUntilCurrent`."""
        before, self._known = self._known, self._count_now()
        if self._known > before:
            self.on_standstill()
        self._put_off = self._known > before and not self._put_off
        if self._put_off:
            self._put_off_what_became_due()
        type(self._reactor).runUntilCurrent(self._reactor)

    def _put_off_what_became_due(self) -> None:
        since, until = self._reactor.seconds.stood
        calls = self._reactor.getDelayedCalls()
        due = [(call.getTime(), call) for call in calls if since < call.getTime() < until]
        due.sort(key=itemgetter(0))
        for n, (time, call) in enumerate(due):
            call.delay(until - time + READ + n * APART)
