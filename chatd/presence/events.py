"""Application events for other programs: who joined a room, and who left it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from attrs import define, field

from chatd.brokers.interfaces import IBroker
from chatd.presence.board import PresenceBoard
from chatd.protocol.json import dump

#: Users by room of whom is remembered that an event is overdue, at most.
OVERDUE = 50_000
#: Overdue events that are told at once.
AT_ONCE = 1000


@define(eq=False)
class PresenceEvents:
    """Publishes ``joined`` and ``left``. The latest event of a user in a room is to hold; so what
    the broker does not take is told later, if it is still new by then."""

    _presence: PresenceBoard
    _broker: IBroker
    #: By room and user: whether the latest event that was told was ``joined``.
    _overdue: dict[tuple[str, str], bool] = field(factory=dict, init=False)

    def tell(self, room: str, user: str, here: bool) -> None:
        """``user`` joined ``room``, or left it if not ``here``."""
        event = "joined" if here else "left"
        body = dump({"event": event, "room": room, "user": user})
        if self._broker.announce(event, room, body):
            self._overdue.pop((room, user), None)
        elif len(self._overdue) < OVERDUE:
            self._overdue.setdefault((room, user), not here)

    def overdue(self) -> Iterator[tuple[str, str, bool]]:
        """Some of what is to be told now: arguments of `tell`."""
        for room, user in list(islice(self._overdue, AT_ONCE)):
            told = self._overdue.pop((room, user), None)
            here = self._presence.here(room, user)
            if told is not None and here != told:
                yield room, user, here
