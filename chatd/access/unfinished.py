"""A budget, over all connections, for what clients have begun to send and not ended."""

from __future__ import annotations

from attrs import define

from chatd.access.budget import Budget, Transport

#: Bytes of one connection that are not worth counting: an ordinary head, or a short message.
SMALL = 4 * 1024


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
