"""Keeping the turns of the reactor short, however many sockets have something to say at once."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service

#: Sockets served in a row, before the time is looked at.
IN_A_ROW = 16
#: Seconds for which sockets are served in one turn.
LONG = 0.01


class ShortTurns(Service):
    """While it runs, ``reactor`` serves sockets for about `LONG` seconds in a turn.

    Twisted serves all that are ready before it makes a delayed call again, so a thousand clients
    that send, or hang up, at the same time would hold up everyone else, and the fair queue too.
    Those that are left are the first in the next turn: epoll(7) goes round. Where few are ready,
    this costs nothing. ``timer`` returns seconds.

    It is for a process that is one node alone, whose reactor that is. One that does not use epoll
    is left as it is.
    """

    name = "short turns"

    def __init__(self, reactor: Any, timer: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._timer = timer
        self._few: _Few | None = None

    def startService(self) -> None:
        """Take over how the reactor waits for its sockets."""
        super().startService()
        poller = getattr(self._reactor, "_poller", None)
        if hasattr(select, "epoll") and isinstance(poller, select.epoll):
            self._few = self._reactor._poller = _Few(poller)
            self._reactor.doIteration = self._serve

    def stopService(self) -> None:
        """Leave it to the reactor again."""
        super().stopService()
        few, self._few = self._few, None
        if few is not None:
            self._reactor._poller = few.epoll
            del self._reactor.doIteration

    def _serve(self, timeout: float | None) -> None:
        """See `twisted.internet.interfaces.IReactorCore.doIteration`."""
        few, serve = self._few, self._reactor.doPoll
        serve(timeout)
        if few is not None and few.may_be_more:
            until = self._timer() + LONG
            while few.may_be_more and self._timer() < until:
                serve(0)


class _Few:
    """An ``epoll`` object of which no more than `IN_A_ROW` ready sockets are heard at once."""

    def __init__(self, epoll: select.epoll) -> None:
        self.epoll = epoll
        #: Whether there may have been more than were told the last time.
        self.may_be_more = False
        self.register, self.modify, self.unregister = epoll.register, epoll.modify, epoll.unregister
        self._poll = epoll.poll

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """See `select.epoll.poll`."""
        self.may_be_more = False  # also if this raises
        ready = self._poll(timeout, min(most, IN_A_ROW))
        self.may_be_more = len(ready) == IN_A_ROW
        return ready
