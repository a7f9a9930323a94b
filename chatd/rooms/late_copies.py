"""First copies that come after the repeat.

Who gets no answer may send a message again over another connection while its first copy is held up
on the way, in a network or a proxy. Once that goes on, the copy comes after all, and does not say
from where to look for it: that it need not be stored is told by the repeat, which did.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from chatd.protocol.cursors import Cursor

#: Seconds for which a first copy may still come. A connection that is not heard of is closed sooner
#: (`chatd.transports.websocket.heartbeat`).
LATE = 60.0
#: Repeats that are remembered, at most.
REPEATS = 10_000


@define(eq=False)
class LateCopies:
    """The cursors of repeats, by room, user and id."""

    clock: IReactorTime
    #: Each with the clock's seconds until which it counts, the newest last.
    _repeats: OrderedDict[tuple[str, str, str], tuple[Cursor, float]] = field(
        factory=OrderedDict, init=False
    )

    def repeated(self, room: str, user: str, id: str, after: Cursor) -> None:
        """The message was sent again, and is looked for from ``after`` on."""
        now = self.clock.seconds()
        while self._repeats:
            oldest = next(iter(self._repeats))
            if len(self._repeats) < REPEATS and self._repeats[oldest][1] > now:
                break
            del self._repeats[oldest]
        self._repeats[room, user, id] = after, now + LATE
        self._repeats.move_to_end((room, user, id))

    def after(self, room: str, user: str, id: str) -> Cursor | None:
        """From where to look for a message that does not say it itself; None if it was not sent
        again of late."""
        if not self._repeats:
            return None  # as most times
        after, until = self._repeats.get((room, user, id), (None, 0.0))
        return after if after is not None and self.clock.seconds() < until else None
