"""Whose read from the broker is next: round robin among those who ask, each in order. One who asks
for much does not make the others wait longer than for one read of his."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

#: Concurrent reads from the broker.
READS = 4
#: Seconds that a read waits for its turn.
PATIENCE = 10.0


@define(eq=False)
class ReadQueue:
    """A line of one node, for ``size`` reads at a time. Whoever asks is an address, or something
    else with a name of its own."""

    clock: IReactorTime
    size: int = READS
    _running: int = field(default=0, init=False)
    _going_on: bool = field(default=False, init=False)
    #: Who waits, by who asks; whose turn it is stands first.
    _waiting: OrderedDict[str, deque[Deferred[None]]] = field(factory=OrderedDict, init=False)

    async def run(
        self, asker: str, read: Callable[P, Deferred[T]], *args: P.args, **more: P.kwargs
    ) -> T:
        """The outcome of ``read``, begun when it is ``asker``'s turn. Raises `Unavailable` if that
        takes longer than `PATIENCE`."""
        if self._running < self.size and not self._waiting:
            self._running += 1
        else:
            await self._turn(asker)
        try:
            return await read(*args, **more)
        finally:
            self._running -= 1
            self._go_on()

    async def _turn(self, asker: str) -> None:
        waiter: Deferred[None] = Deferred()
        queue = self._waiting.setdefault(asker, deque())
        queue.append(waiter)
        try:
            await waiter.addTimeout(PATIENCE, self.clock, _late)
        except (Unavailable, CancelledError):
            queue.remove(waiter)
            if not queue:
                del self._waiting[asker]
            raise

    def _go_on(self) -> None:
        """Let the next ones read: in a loop, so that any number of reads may fail at once."""
        if self._going_on:
            return  # the loop in which this read began goes on
        self._going_on = True
        while self._waiting and self._running < self.size:
            asker, queue = self._waiting.popitem(last=False)
            waiter = queue.popleft()
            if queue:
                self._waiting[asker] = queue  # behind the others
            self._running += 1
            waiter.callback(None)
        self._going_on = False


def _late(result: object, timeout: float) -> None:
    raise Unavailable("too many others read the past, too")
