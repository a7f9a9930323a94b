"""How much is held for clients that do not read what they are sent, over all connections."""

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
        """Cut it; what it has not sent is thrown away."""


@define(eq=False)
class Unread:
    """The budget for answers that were not taken yet. ``limit`` is in bytes. Where it is not enough
    those are cut who have taken nothing for longest: they can come back, and read on from their
    cursors."""

    limit: int
    clock: IReactorTime
    trim: Callable[[], None] = trim
    #: The most that was held since memory was last given back.
    _peak: int = field(default=0, init=False)
    total: int = field(default=0, init=False)
    _held: OrderedDict[Transport, int] = field(factory=OrderedDict, init=False)

    def hold(self, transport: Transport, size: int) -> None:
        """``transport`` holds ``size`` bytes that its client does not take."""
        self.total += size - self._held.get(transport, 0)
        self._held[transport] = size
        self._peak = max(self._peak, self.total)
        while self.total > self.limit:
            longest = next(iter(self._held))
            self.release(longest)
            longest.abortConnection()

    def release(self, transport: Transport) -> None:
        """It has taken all, or is gone. May be called at any time."""
        self.total -= self._held.pop(transport, 0)
        if self._peak >= WORTH_TRIMMING and self.total <= LITTLE * self._peak:
            self._peak = self.total
            self.clock.callLater(TRIM_AFTER, self.trim)
