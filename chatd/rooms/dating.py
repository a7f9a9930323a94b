"""The time that a message is shown with (protocol, section 7).

Other programs give their records any time, or none. An implausible time is replaced by that of the
nearest dated record before it, else by that of the room's creation. All of this is in the stream,
so every node shows the same time, also after a restart.

A time is implausible if it is older than the retention before the previous dated record, or too far
ahead: of the previous one, and of the next one too (of now, while there is no next one). Too far is
more than an hour for other programs, and more than the retention for chatd's own records: nodes
whose clocks differ by less than that still show the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from attrs import field, frozen

from chatd.brokers.interfaces import Retention, Stream
from chatd.protocol.messages import WINDOW, Claim
from chatd.timing.wall import WallClock

#: Milliseconds that the time of another program's record may be ahead of its neighbours'.
AHEAD = 3_600_000
#: Records searched for the next one that has a time.
FOLLOWING = 100


class Dates:
    """Dates the records of one stream, in order from any offset on. ``created`` (of the room) and
    ``age`` (the retention) are in milliseconds.

    A record's time depends on the `WINDOW` records before it at most, so readers that started at
    different offsets agree after that many.
    """

    def __init__(self, created: int, age: int) -> None:
        self._created = created
        self._age = max(age, AHEAD)
        self._latest = created
        self._since = 0

    def resolve(self, claims: Sequence[Claim | None], now: Callable[[], int]) -> list[int]:
        """The times (milliseconds since the epoch) of the next records. ``claims`` are the times in
        their bodies, None where there is none; ``now()`` is the time of day."""
        return [self._resolve(claims, i, now) for i in range(len(claims))]

    def _resolve(self, claims: Sequence[Claim | None], place: int, now: Callable[[], int]) -> int:
        if self._since >= WINDOW:
            self._latest = self._created
        claim = claims[place]
        if claim is not None and self._plausible(claim, claims, place, now):
            self._latest, self._since = claim.time, 0
        else:
            self._since += 1
        return self._latest

    def _plausible(
        self, claim: Claim, claims: Sequence[Claim | None], place: int, now: Callable[[], int]
    ) -> bool:
        oldest = self._latest - self._age
        if claim.time < oldest:
            return False
        ahead = AHEAD if claim.foreign else self._age
        if claim.time <= self._latest + ahead:
            return True
        today = now()
        after = islice(claims, place + 1, place + 1 + FOLLOWING)
        following = next((c.time for c in after if c is not None and c.time >= oldest), today)
        return claim.time <= min(following, today) + ahead


@frozen
class Dating:
    """The time of day and the retention by which a node dates its streams."""

    wall: WallClock
    retention: Retention = field(factory=Retention)

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self.wall.milliseconds()

    def dates(self, stream: Stream) -> Dates:
        """A `Dates` for ``stream``."""
        return Dates(stream.created, self.retention.age * 1000)
