"""A budget, over all connections, for answers that clients have not read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

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


class Transport(Protocol):
    """A connection that can be cut."""

    def abortConnection(self) -> None:
        """End it at once; what was not sent is dropped."""


class _Held(NamedTuple):
    """What a connection held when it was looked at last: bytes, and how many of these its client
    had taken."""

    size: int
    taken: int


_NOTHING = _Held(0, 0)


def _taken(transport: Transport, size: int) -> int:
    """How much of ``size`` bytes ``transport`` has passed on by now; 0 if unknown."""
    left = unsent_bytes(transport)
    return 0 if left is None else size - left


@define(eq=False)
class Unread:
    """The budget; ``limit`` is in bytes. When it is exceeded, the connection that has read nothing
    for longest is cut: its client can come back and read on from its cursor."""

    limit: int
    clock: IReactorTime
    trim: Callable[[], None] = trim
    #: The most that was held since memory was last given back.
    _peak: int = field(default=0, init=False)
    total: int = field(default=0, init=False)
    #: Who has read nothing for longest stands first.
    _held: OrderedDict[Transport, _Held] = field(factory=OrderedDict, init=False)

    def hold(self, transport: Transport, size: int) -> None:
        """``transport`` holds ``size`` bytes that its client does not take."""
        before, taken = self._held.get(transport, _NOTHING), _taken(transport, size)
        self.total += size - before.size
        self._held[transport] = _Held(size, taken)
        if size < before.size or taken > before.taken:
            self._held.move_to_end(transport)
        self._peak = max(self._peak, self.total)
        while self.total > self.limit:
            self._cut()

    def _cut(self) -> None:
        """Cut the first, unless it has read since it was looked at."""
        longest, held = next(iter(self._held.items()))
        taken = _taken(longest, held.size)
        if taken > held.taken:
            self._held[longest] = _Held(held.size, taken)
            self._held.move_to_end(longest)
        else:
            self.release(longest)
            longest.abortConnection()

    def release(self, transport: Transport) -> None:
        """It holds nothing any more: all was sent, or it has ended. May be called at any time."""
        self.total -= self._held.pop(transport, _NOTHING).size
        if self._peak >= WORTH_TRIMMING and self.total <= LITTLE * self._peak:
            self._peak = self.total
            self.clock.callLater(TRIM_AFTER, self.trim)
