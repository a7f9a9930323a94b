"""The time that a message is shown with (protocol, "AMQP").

Other programs give their records any time, or none. An implausible time is replaced by that of the
nearest dated record before it, else by that of the room's creation. All of this is in the stream,
so every node shows the same time, also after a restart.

chatd's own records and those of other programs are judged apart, so that what others claim cannot
lead the room's time astray step by step. A time is implausible

* in a record by chatd, if it is older than the retention before chatd's previous one and before
  now, or more than the retention ahead of now: nodes whose clocks differ by less than that still
  show the same, and a clock that was ahead leaves nothing behind when it has been set right;
* in a record by another program, if it is older than the retention before the newest time of the
  records before it, or more than an hour ahead: of both its neighbours (of now, while there is no
  next one), or of both chatd's previous one and now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from attrs import field, frozen

from chatd.brokers.interfaces import Retention, Stream
from chatd.protocol.messages import WINDOW, Claim
from chatd.timing.wall import WallClock

#: Milliseconds that the time of another program's record may be ahead.
AHEAD = 3_600_000
#: Records searched for the next one that has a time.
FOLLOWING = 100


class Dates:
    """Dates the records of one stream, in order from any offset on. ``created`` (of the room) and
    ``age`` (the retention) are in milliseconds.

    A record's time depends on the `WINDOW` records before it at most, and what these were judged
    by; so readers that started at different offsets agree after that many.
    """

    def __init__(self, created: int, age: int) -> None:
        self._created = created
        self._age = max(age, AHEAD)
        self._place = 0
        #: The times of the newest dated record and of chatd's newest one, and their places.
        self._latest, self._latest_at = created, 0
        self._own, self._own_at = created, 0
        #: Places and times of dated records after which no later time came: the first has the
        #: newest time.
        self._peaks: deque[tuple[int, int]] = deque()

    def resolve(self, claims: Sequence[Claim | None], now: Callable[[], int]) -> list[int]:
        """The times (milliseconds since the epoch) of the next records. ``claims`` are the times in
        their bodies, None where there is none; ``now()`` is the time of day."""
        today, times = now(), []
        for i, claim in enumerate(claims):
            self._place += 1
            self._forget()
            if claim is not None and self._plausible(claim, claims, i, today):
                self._note(claim)
            times.append(self._latest)
        return times

    def _plausible(self, claim: Claim, claims: Sequence[Claim | None], i: int, today: int) -> bool:
        if not claim.foreign:
            return min(self._own, today) - self._age <= claim.time <= today + self._age
        newest = max(self._created, self._peaks[0][1]) if self._peaks else self._created
        oldest = newest - self._age
        if not oldest <= claim.time <= max(self._own, today) + AHEAD:
            return False
        if claim.time <= self._latest + AHEAD:
            return True
        after = islice(claims, i + 1, i + 1 + FOLLOWING)
        following = next((c.time for c in after if c is not None and c.time >= oldest), today)
        return claim.time <= min(following, today) + AHEAD

    def _note(self, claim: Claim) -> None:
        self._latest, self._latest_at = claim.time, self._place
        if not claim.foreign:
            self._own, self._own_at = claim.time, self._place
        peaks = self._peaks
        while peaks and peaks[-1][1] <= claim.time:
            peaks.pop()
        peaks.append((self._place, claim.time))

    def _forget(self) -> None:
        """What lies more than `WINDOW` records back has no say: others may not have read it."""
        first = self._place - WINDOW
        if self._latest_at < first:
            self._latest = self._created
        if self._own_at < first:
            self._own = self._created
        if self._peaks and self._peaks[0][0] < first:
            self._peaks.popleft()


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
