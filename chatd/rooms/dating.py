"""The times that messages are shown with (protocol, section 7).

Programs give their messages any time, or none. What cannot be true is replaced by the time of the
nearest dated record before it, else of the room's creation: by what all nodes find in the stream,
so that all of them show the same, after any restart.

A time cannot be true that is older than retention reckoned from the dated record before it; or that
is more than an hour ahead of the one after it, or of now while there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from attrs import field, frozen

from chatd.brokers.interfaces import Retention, Stream
from chatd.protocol.messages import WINDOW
from chatd.timing.wall import WallClock

#: Milliseconds that a record may be ahead of its neighbours.
AHEAD = 3_600_000
#: Records after one that are looked at for the next that has a time.
FOLLOWING = 100


class Dates:
    """Goes through a stream from somewhere, in order. ``age`` is the retention, in milliseconds.

    Only the `WINDOW` records before one are looked at, so that whoever starts reading anywhere
    judges alike after so many.
    """

    def __init__(self, created: int, age: int) -> None:
        self._created = created
        self._age = max(age, AHEAD)
        self._latest = created
        self._since = 0

    def resolve(self, claims: Sequence[int | None], now: int) -> list[int]:
        """The times (milliseconds since the epoch) of the next records. ``claims`` are those that
        they carry, None for one without."""
        return [self._resolve(claims, i, now) for i in range(len(claims))]

    def _resolve(self, claims: Sequence[int | None], place: int, now: int) -> int:
        if self._since >= WINDOW:
            self._latest = self._created
        claim = claims[place]
        if claim is not None and self._plausible(claim, claims, place, now):
            self._latest, self._since = claim, 0
        else:
            self._since += 1
        return self._latest

    def _plausible(self, claim: int, claims: Sequence[int | None], place: int, now: int) -> bool:
        oldest = self._latest - self._age
        if claim < oldest:
            return False
        if claim <= self._latest + AHEAD:
            return True
        after = islice(claims, place + 1, place + 1 + FOLLOWING)
        following = next((c for c in after if c is not None and c >= oldest), now)
        return claim <= min(following, now) + AHEAD


@frozen
class Dating:
    """How the streams of a node are dated."""

    wall: WallClock
    retention: Retention = field(factory=Retention)

    @property
    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self.wall.milliseconds()

    def dates(self, stream: Stream) -> Dates:
        """`Dates` for a stream."""
        return Dates(stream.created, self.retention.age * 1000)
