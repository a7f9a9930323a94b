"""A budget, over all connections, for answers that clients have not read."""

from __future__ import annotations

from attrs import define, field

from chatd.access.budget import Budget, Transport
from chatd.net.tcp import unsent_bytes


def _taken(transport: Transport, size: int) -> int:
    """How much of ``size`` bytes ``transport`` has passed on by now; 0 if unknown."""
    left = unsent_bytes(transport)
    return 0 if left is None else size - left


@define(eq=False)
class Unread(Budget):
    """The budget; ``limit`` is in bytes. When it is exceeded, the connection that has read nothing
    for longest is cut: its client can come back and read on from its cursor."""

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
