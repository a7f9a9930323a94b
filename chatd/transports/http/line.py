"""The turns of the requests of one HTTP connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from chatd.access.fair_queue import FairQueue, Work
from chatd.access.proxies import UNIX


class Line:
    """The place in line of one connection; each request is counted for the client that sent it,
    also where one connection is a proxy's and carries many clients'."""

    def __init__(self, turns: FairQueue, transport: Any, give_up: Callable[[], None]) -> None:
        peer = getattr(transport.getPeer(), "host", UNIX)
        self._place = turns.place(peer, self._go, give_up)
        self._waiting: Deferred[None] | None = None
        self.arrived, self.give_back = self._place.arrived, self._place.give_back

    async def turn(self, address: str, what: Work) -> None:
        """Wait until a request of the client at ``address`` may be done; see `QueuePlace.moved`."""
        self._place.moved(address, what)
        await self.next()

    def at_once(self, address: str) -> bool:
        """Whether a request of the client at ``address`` may be done now; if not, see `queued`."""
        self._place.moved(address)
        return self._place.take()

    async def next(self) -> None:
        """Wait until one more piece of work for the same client may be done."""
        if not self._place.take():
            await self.queued()

    async def behind_others(self) -> None:
        """As `next`, for what may take long: it is not done in the same turn of the reactor as the
        like of other connections."""
        self._place.join()
        await self.queued()

    def queued(self) -> Deferred[None]:
        """A Deferred for the turn of what may not be done yet."""
        self._waiting = Deferred()
        return self._waiting

    def _go(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and self._place.take():
            waiting.callback(None)

    def leave(self) -> None:
        """The connection is gone: who waits is cancelled."""
        self._place.leave()
        if self._waiting is not None:
            self._waiting.cancel()
