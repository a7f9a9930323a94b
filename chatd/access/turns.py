"""Whose request is next: a fair queue (round robin among addresses, then among the connections of
one), and an allowance for each address. Floods are paid for by who floods.

While nobody waits, work is done as it comes, a few requests a connection each time it is read from.
What is beyond that waits in line, and is done for `TURN` seconds in each turn of the reactor at
most, so that everyone else is served in between. An address whose allowance is used up waits until
it is back.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatd.access.limits import network_of
from chatd.access.rate_limit import Bucket, Rate

#: Seconds of work a turn of the reactor that is done for those in line.
TURN = 0.003
#: Requests of a connection that are done without standing in line, each time it is read from.
AT_ONCE = 8
#: Seconds between two looks at an address that is over its allowance.
LOOK = 0.005
#: Seconds after which a connection that never caught up with its allowance is given up.
PATIENCE = 60.0
#: Addresses whose allowance is remembered.
ADDRESSES = 100_000
#: Requests of an address a second for each publish a second that one client may make, and at least.
PER_PUBLISH = 100
AT_LEAST = 1000.0


def allowance(rate: Rate) -> Rate:
    """How many requests of any kind an address may make, given the ``rate`` of publishes."""
    return Rate(max(AT_LEAST, PER_PUBLISH * rate.per_second), what="requests")


@define(eq=False)
class _Lane:
    """The connections of one address that stand in line."""

    bucket: Bucket
    waiting: deque[QueuePlace] = field(factory=deque)
    #: It is ready, being served, or over its allowance: it will be looked at again.
    known: bool = False


@define(eq=False)
class QueuePlace:
    """One connection's place in line. ``go`` is called when it may do one piece of work, for which
    it asks by `take` again; ``give_up`` when it has been over its allowance for too long."""

    _turns: FairQueue
    _key: tuple[str, str]
    go: Callable[[], None]
    give_up: Callable[[], None]
    queued: bool = field(default=False, init=False)
    _granted: bool = field(default=False, init=False)
    _at_once: int = field(default=0, init=False)
    #: Since when it has been over its allowance without having caught up.
    _over_since: float | None = field(default=None, init=False)

    def arrived(self) -> None:
        """Something was read from the connection."""
        self._at_once = AT_ONCE

    def take(self) -> bool:
        """Whether to do one piece of work now. If not, `go` is called when its turn has come."""
        if self._granted:
            self._granted = False
            return True
        if self.queued:
            return False
        if self._at_once > 0 and self._turns._unhindered(self):
            self._at_once -= 1
            return True
        self._turns._queue(self)
        return False

    def moved(self, address: str, what: str = "") -> None:
        """Count what comes for the client at ``address``; kinds of work (``what``) have allowances
        of their own."""
        self._key = _key(address, what)

    def leave(self) -> None:
        """The connection is gone."""
        self.queued = False
        self.go = self.give_up = _nothing


def _key(address: str, what: str = "") -> tuple[str, str]:
    return network_of(address), what


def _nothing() -> None:
    """Nobody is there any more."""


@define(eq=False)
class FairQueue:
    """The line of one node. ``timer`` measures work, in seconds."""

    clock: IReactorTime
    rate: Rate
    timer: Callable[[], float] = time.perf_counter
    _lanes: dict[tuple[str, str], _Lane] = field(factory=dict, init=False)
    #: The lanes in which somebody waits and nothing else is missing, in turn.
    _ready: deque[_Lane] = field(factory=deque, init=False)
    _pumping: IDelayedCall | None = field(default=None, init=False)

    def place(
        self, address: str, go: Callable[[], None], give_up: Callable[[], None]
    ) -> QueuePlace:
        """A place for a connection from ``address``."""
        return QueuePlace(self, _key(address), go, give_up)

    def _lane(self, key: tuple[str, str]) -> _Lane:
        lane = self._lanes.pop(key, None)
        if lane is None:
            lane = _Lane(self.rate.bucket())
        self._lanes[key] = lane  # the one used longest ago stands first
        if len(self._lanes) > ADDRESSES:
            oldest = next(iter(self._lanes))
            if not self._lanes[oldest].waiting:
                del self._lanes[oldest]
        return lane

    def _unhindered(self, place: QueuePlace) -> bool:
        """Whether ``place`` need not stand in line: nobody does, and its allowance is not used."""
        if self._ready:
            return False
        lane = self._lane(place._key)
        return not lane.waiting and lane.bucket.take(self.clock.seconds()) == 0.0

    def _queue(self, place: QueuePlace) -> None:
        lane = self._lane(place._key)
        place.queued = True
        lane.waiting.append(place)
        if not lane.known:
            lane.known = True
            self._come_forward(lane)

    def _come_forward(self, lane: _Lane) -> None:
        self._ready.append(lane)
        if self._pumping is None:
            self._pumping = self.clock.callLater(0, self._pump)

    def _pump(self) -> None:
        """Serve those in line, one piece of work each in turn."""
        until = self.timer() + TURN
        while self._ready:
            lane = self._ready.popleft()
            self._serve(lane)
            if self.timer() >= until:
                break
        self._pumping = self.clock.callLater(0, self._pump) if self._ready else None

    def _serve(self, lane: _Lane) -> None:
        now = self.clock.seconds()
        while lane.waiting and not lane.waiting[0].queued:
            lane.waiting.popleft()  # gone
        if not lane.waiting:
            lane.known = False
            return
        if (wait := lane.bucket.take(now)) > 0.0:
            self._over(lane, now)
            self.clock.callLater(max(wait, LOOK), self._come_forward, lane)
            return
        place = lane.waiting.popleft()
        place.queued = False
        place._granted = True
        place.go()
        place._granted = False
        if not place.queued:
            place._over_since = None  # it has caught up
        self._ready.append(lane)

    def _over(self, lane: _Lane, now: float) -> None:
        """Remember who is over the allowance, and give up who has been for too long."""
        for place in list(lane.waiting):
            if place._over_since is None:
                place._over_since = now
            elif now - place._over_since >= PATIENCE:
                place._over_since = None
                place.queued = False
                place.give_up()
