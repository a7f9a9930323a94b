"""A budget, over all connections, for bytes that are held for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from chatd.net.memory import trim

#: Bytes held at a time after which memory is given back when most of it is no longer held, and the
#: seconds until then: connections are told that they end before their buffers are freed.
WORTH_TRIMMING = 8 * 1024 * 1024
TRIM_AFTER = 1.0
#: What counts as most of it: all but so much.
LITTLE = 1 / 8


class Transport(Protocol):
    """A connection that can be cut."""

    def abortConnection(self) -> None:
        """End it at once; what was not sent is dropped."""


@define(eq=False)
class Budget:
    """The budget; ``limit`` is in bytes. When it is exceeded, the connection for which there has
    been no less to hold for longest is cut."""

    limit: int
    clock: IReactorTime
    trim: Callable[[], None] = trim
    #: The most that was held since memory was last given back.
    _peak: int = field(default=0, init=False)
    total: int = field(default=0, init=False)
    #: How much is held for each; the first to be cut stands first.
    _held: OrderedDict[Transport, int] = field(factory=OrderedDict, init=False)

    def hold(self, transport: Transport, size: int) -> None:
        """``size`` bytes are held for ``transport``."""
        before = self._held.get(transport, 0)
        self.total += size - before
        self._held[transport] = size
        if size < before:
            self._held.move_to_end(transport)
        self._peak = max(self._peak, self.total)
        while self.total > self.limit:
            self._cut(next(iter(self._held)))

    def _cut(self, first: Transport) -> None:
        """End the connection ``first``, and hold nothing for it."""
        self.release(first)
        first.abortConnection()

    def release(self, transport: Transport) -> None:
        """Nothing is held for it any more, or it has ended. May be called at any time."""
        self.total -= self._held.pop(transport, 0)
        if self._peak >= WORTH_TRIMMING and self.total <= LITTLE * self._peak:
            self._peak = self.total
            self.clock.callLater(TRIM_AFTER, self.trim)
