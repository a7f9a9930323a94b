"""Budgets, over all connections together, for bytes that are held for them: answers that clients
have not read, and what they have begun to send and not ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from chatd.net.memory import trim
from chatd.net.tcp import unsent_bytes

#: Bytes held at a time after which memory is given back when most of it is no longer held, and the
#: seconds until then: connections are told that they end before their buffers are freed.
WORTH_TRIMMING = 8 * 1024 * 1024
TRIM_AFTER = 1.0
#: What counts as most of it: all but so much.
LITTLE = 1 / 8
#: Unended bytes of one connection that are not worth counting: an ordinary head, a short message.
SMALL = 4 * 1024


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


@define(eq=False)
class Unread(Budget):
    """The budget for answers that clients have not read. When it is exceeded, the connection that
    has read nothing for longest is cut: its client can come back and read on from its cursor."""

    #: How many of the bytes that are held for each its client had taken when it was looked at last.
    _took: dict[Transport, int] = field(factory=dict, init=False)

    def hold(self, transport: Transport, size: int) -> None:
        """``transport`` holds ``size`` bytes that its client does not take."""
        taken = _taken(transport, size)
        if transport in self._held and taken > self._took[transport]:
            self._held.move_to_end(transport)
        self._took[transport] = taken
        super().hold(transport, size)

    def _cut(self, first: Transport) -> None:
        """Cut ``first``, unless it has read since it was looked at."""
        taken = _taken(first, self._held[first])
        if taken > self._took[first]:
            self._took[first] = taken
            self._held.move_to_end(first)
        else:
            super()._cut(first)

    def release(self, transport: Transport) -> None:
        """It holds nothing any more: all was sent, or it has ended. May be called at any time."""
        self._took.pop(transport, None)
        super().release(transport)


def _taken(transport: Transport, size: int) -> int:
    """How much of ``size`` bytes ``transport`` has passed on by now; 0 if unknown."""
    left = unsent_bytes(transport)
    return 0 if left is None else size - left


@define(eq=False)
class Unfinished(Budget):
    """The budget for incomplete heads, bodies, frames and messages in fragments, for what comes
    behind a request in hand, and for bodies that wait to be parsed. Each is bounded on its own, and
    without a budget all connections together may hold gigabytes of them, in fragments for as long
    as they like.

    When it is exceeded, the connection is cut that has been at the same one for longest."""

    def count(self, transport: Transport, size: int) -> None:
        """``size`` bytes of ``transport`` wait for what is to come, or for their turn."""
        if size > SMALL:
            self.hold(transport, size)
        elif transport in self._held:
            self.release(transport)
