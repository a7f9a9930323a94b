"""Keeping the turns of the reactor short, however many sockets have something to say at once."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

#: Seconds for which sockets are served in one turn.
LONG = 0.01


class ShortTurns(Service):
    """While it runs, ``reactor`` serves sockets for about `LONG` seconds in a turn.

    Twisted serves all that are ready before it makes a delayed call again, so a thousand clients
    that send, or hang up, at the same time would hold up everyone else, and the fair queue too.
    Those that are left are the first in the next turn. ``timer`` returns seconds.

    It is for a process that is one node alone, whose reactor that is. One that does not use epoll
    is left as it is.
    """

    name = "short turns"
    _log = Logger()

    def __init__(self, reactor: Any, timer: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._timer = timer
        #: Sockets that wait for the next turn, with their number and what they are ready for.
        self._left: deque[tuple[Any, int, int]] = deque()
        self._serves = False

    def startService(self) -> None:
        """Take over how the reactor serves its sockets."""
        super().startService()
        poller = getattr(self._reactor, "_poller", None)
        if hasattr(select, "epoll") and isinstance(poller, select.epoll):
            self._serves = True
            self._reactor.doIteration = self._serve

    def stopService(self) -> None:
        """Leave it to the reactor again, which will hear of those that are left."""
        super().stopService()
        self._left.clear()
        if self._serves:
            self._serves = False
            del self._reactor.doIteration

    def _serve(self, timeout: float | None) -> None:
        """See `twisted.internet.interfaces.IReactorCore.doIteration`."""
        until = None
        if self._left:
            until, timeout = self._timer() + LONG, 0
            if not self._serve_left(until):
                return
        selectables = self._reactor._selectables
        ready = self._reactor._poller.poll(-1 if timeout is None else timeout, len(selectables))
        self._serve_some(ready, until or self._timer() + LONG)

    def _serve_some(self, ready: list[tuple[int, int]], until: float) -> None:
        """Serve those that are ``ready`` as far as there is time."""
        selectables, timer = self._reactor._selectables, self._timer
        for n, (fd, event) in enumerate(ready, 1):
            selectable = selectables.get(fd)
            if selectable is not None:
                self._do(selectable, fd, event)
            if timer() >= until:
                known = ((selectables.get(fd), fd, event) for fd, event in ready[n:])
                self._left.extend(one for one in known if one[0] is not None)
                return

    def _serve_left(self, until: float) -> bool:
        """Serve those that were left, as far as they are still there and want to be; whether there
        is time for more."""
        reactor = self._reactor
        while self._left:
            selectable, fd, event = self._left.popleft()
            if reactor._selectables.get(fd) is not selectable:
                continue
            if fd not in reactor._reads:
                event &= ~select.EPOLLIN
            if fd not in reactor._writes:
                event &= ~select.EPOLLOUT
            if event:
                self._do(selectable, fd, event)
            if self._timer() >= until:
                return False
        return True

    def _do(self, selectable: Any, fd: int, event: int) -> None:
        """Read or write. The context of Twisted's older log, which chatd does not use, would cost a
        tenth of a turn."""
        try:
            self._reactor._doReadOrWrite(selectable, fd, event)
        except Exception:
            self._log.failure("Serving a socket failed; the others go on.")
