"""Whose request is served next: a fair queue (round robin among addresses, then among the
connections of an address), and an allowance for each address, so that a flood slows down only
itself.

As long as nobody waits, requests are served as they come: a few for each read from a connection,
and about `TURN` seconds of work in a turn of the reactor. Further ones are queued, and served for
at most `TURN` seconds in each turn, so that everything else is served in between. Addresses that
ask seldom go first (the sparse flows of RFC 8290, section 3.1). What takes long in the queue counts
as several requests. An address that has used up its allowance waits until it is back. TLS
handshakes have a queue and half of the time: a crowd that comes does not hold up those who talk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import ClassVar

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatd.access.limits import network_of
from chatd.access.rate_limit import Bucket, Rate
from chatd.access.sparse_queue import SparseQueue
from chatd.timing.nothing import nothing

#: Seconds of queued work that are done in one turn of the reactor, and about as much at once.
TURN = 0.001
#: Seconds of work that count as one request; what takes longer counts as several.
UNIT = 0.0005
#: Requests of a connection that are served without queueing, for each read from it: about as much
#: work as `TURN`. To queue costs a request a tenth more, and the connection two changes of the
#: poll set.
AT_ONCE = 16
#: An address that asks no more often than this goes before the others.
SELDOM = Rate(20, burst=8)
#: Seconds between two looks at an address that is over its allowance.
LOOK = 0.005
#: Seconds after which a connection that never caught up with its allowance is given up.
PATIENCE = 60.0
#: The most addresses whose allowance is kept.
ADDRESSES = 100_000
#: Requests of an address a second for each publish a second that one client may make, and at least.
PER_PUBLISH = 100
AT_LEAST = 1000.0
#: An allowance without limit.
BOUNDLESS = Rate(1e9)


def allowance(rate: Rate) -> Rate:
    """How many requests of any kind an address may make, if a client may publish at ``rate``."""
    return Rate(max(AT_LEAST, PER_PUBLISH * rate.per_second), what="requests")


class Work(Enum):
    """Kinds of work; an address has an allowance for each."""

    REQUEST = auto()
    #: ``/healthz``, ``/readyz``, ``/metrics``.
    PROBE = auto()
    #: The same, asked by a trusted proxy for itself: without limit.
    OWN_PROBE = auto()
    #: A TLS handshake.
    HANDSHAKE = auto()


@define(eq=False)
class _Flow:
    """The queued connections of one address, for one kind of work."""

    bucket: Bucket
    #: The work is TLS handshakes.
    shakes: bool = False
    waiting: SparseQueue[QueuePlace] = field(factory=SparseQueue)
    #: How often it asks.
    seldom: Bucket = field(factory=SELDOM.bucket)
    #: It is queued, being served, or over its allowance, and so will be looked at again.
    known: bool = False
    used: float = 0.0


@define(eq=False)
class QueuePlace:
    """The place of one connection in the queue. ``go`` is called when it may do one piece of work,
    after which it calls `take` again; ``give_up`` when it has been over its allowance for too long,
    or ``go`` has failed, and its connection is to be ended."""

    _turns: FairQueue
    _key: tuple[str, Work]
    go: Callable[[], None]
    give_up: Callable[[], None]
    #: Whether more of its requests have come than were read.
    behind: Callable[[], object] = field(default=lambda: False, init=False)
    queued: bool = field(default=False, init=False)
    _granted: bool = field(default=False, init=False)
    _at_once: int = field(default=0, init=False)
    _seldom: Bucket = field(factory=SELDOM.bucket, init=False)
    #: Since when it has been over its allowance without a break, and when that was seen last.
    _over_since: float | None = field(default=None, init=False)
    _over_seen: float = field(default=0.0, init=False)

    def arrived(self) -> None:
        """Something was read from the connection."""
        self._at_once = AT_ONCE

    def take(self) -> bool:
        """Whether to do one piece of work now. If not, ``go`` is called when its turn has come."""
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

    def join(self) -> None:
        """Queue for a piece of work that may take long, even if nobody else does."""
        if not self.queued:
            self._turns._queue(self)

    def give_back(self) -> None:
        """What `take` has just allowed was not done: the next one is allowed in its place."""
        self._granted = True

    def moved(self, address: str, what: Work = Work.REQUEST) -> None:
        """Count further work as of the kind ``what`` and for the client at ``address``."""
        key = network_of(address), what
        if key != self._key:  # the same tuple is found sooner
            self._key = key

    def leave(self) -> None:
        """The connection has ended."""
        self.queued = False
        self.go = self.give_up = self.behind = nothing


@define(eq=False)
class FairQueue:
    """The queue of one node. ``timer`` returns seconds, to measure work with."""

    _log: ClassVar[Logger] = Logger()
    clock: IReactorTime
    rate: Rate
    timer: Callable[[], float] = time.thread_time
    _flows: dict[tuple[str, Work], _Flow] = field(factory=dict, init=False)
    #: The addresses with queued connections that may be served, and those with handshakes.
    _ready: SparseQueue[_Flow] = field(factory=SparseQueue, init=False)
    _shaking: SparseQueue[_Flow] = field(factory=SparseQueue, init=False)
    #: How many seconds more went into handshakes than into requests, since both wait.
    _lead: float = field(default=0.0, init=False)
    _pumping: IDelayedCall | None = field(default=None, init=False)
    #: Whether the end of this turn of the reactor is waited for.
    _turning: bool = field(default=False, init=False)
    #: When to look at what has been done at once (the clock's seconds), and what had been then.
    _look_at: float = field(default=-math.inf, init=False)
    _worked: float = field(default=0.0, init=False)
    #: The address that was looked at last: what comes together comes from one.
    _newest: tuple[tuple[str, Work] | None, _Flow] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._newest = None, _Flow(self.rate.bucket())

    def set_rate(self, rate: Rate) -> None:
        """Allow each address so much from now on, also one that never pauses."""
        self.rate = rate
        for flow in [flow for (_, what), flow in self._flows.items() if what is not Work.OWN_PROBE]:
            flow.bucket.rate = rate

    def place(
        self, address: str, go: Callable[[], None], give_up: Callable[[], None]
    ) -> QueuePlace:
        """A place for a connection from ``address``."""
        return QueuePlace(self, (network_of(address), Work.REQUEST), go, give_up)

    def handshake(
        self, address: str, go: Callable[[], None], give_up: Callable[[], None]
    ) -> QueuePlace:
        """A place for a connection from ``address`` that begins with a TLS handshake."""
        return QueuePlace(self, (network_of(address), Work.HANDSHAKE), go, give_up)

    def _flow(self, key: tuple[str, Work], now: float) -> _Flow:
        if key is self._newest[0]:
            self._newest[1].used = now
            return self._newest[1]
        flow = self._flows.pop(key, None)
        if flow is None:
            rate = BOUNDLESS if key[1] is Work.OWN_PROBE else self.rate
            flow = _Flow(rate.bucket(), key[1] is Work.HANDSHAKE)
        self._flows[key] = flow  # the one used longest ago stands first
        self._newest = key, flow
        flow.used = now
        self._forget(now - self.rate.burst / self.rate.per_second)
        return flow

    def _forget(self, until: float) -> None:
        """Drop addresses without queued connections whose allowance has had time to come back: two
        at a time, which is more than come in. If there are too many, drop others, too."""
        for _ in range(2):
            oldest, flow = next(iter(self._flows.items()))
            if flow.known or (flow.used >= until and len(self._flows) <= ADDRESSES):
                return
            del self._flows[oldest]

    def _unhindered(self, place: QueuePlace) -> bool:
        """Whether ``place`` need not queue: nobody does, there is time, and allowance."""
        if self._ready.number:
            return False
        now = self.clock.seconds()
        if now >= self._look_at and not self._has_time(now):
            return False
        flow = self._flow(place._key, now)
        return not flow.waiting.number and flow.bucket.take(now) == 0.0

    def _has_time(self, now: float) -> bool:
        """Whether more may be done at once in this turn of the reactor. To tell all turns apart
        would cost each request something: after `TURN` seconds of work, in whichever, the end of
        the present one is awaited; if as much time passes first, it has done enough."""
        if self._turning:
            return False
        if (worked := self.timer()) - self._worked >= TURN:
            self._worked, self._turning = worked, True
            self.clock.callLater(0, self._turned)
        self._look_at = now + TURN
        return True

    def _turned(self) -> None:
        self._turning = False

    def _queue(self, place: QueuePlace) -> None:
        now = self.clock.seconds()
        flow = self._flow(place._key, now)
        place.queued = True
        flow.waiting.join(place, place._seldom.take(now) == 0.0)
        if not flow.known:
            flow.known = True
            self._come_forward(flow)

    def _come_forward(self, flow: _Flow) -> None:
        queue = self._shaking if flow.shakes else self._ready
        queue.join(flow, flow.seldom.take(self.clock.seconds()) == 0.0)
        if self._pumping is None:
            self._pumping = self.clock.callLater(0, self._pump)

    def _next(self) -> _Flow | None:
        """Whose turn it is, if anyone waits."""
        if not (self._ready.number and self._shaking.number):
            self._lead = 0.0
        elif self._lead < 0.0:
            return self._shaking.next()
        queue = self._ready if self._ready.number else self._shaking
        return queue.next() if queue.number else None

    def _pump(self) -> None:
        """Serve the queue, one piece of work at a time."""
        until = self.timer() + TURN
        try:
            while (flow := self._next()) is not None:
                self._serve(flow)
                if self.timer() >= until:
                    break
        finally:  # whatever happens: nobody else begins it again
            waits = self._ready.number or self._shaking.number
            self._pumping = self.clock.callLater(0, self._pump) if waits else None

    def _serve(self, flow: _Flow) -> None:
        now = self.clock.seconds()
        if not any(place.queued for place in flow.waiting):
            flow.waiting = SparseQueue()  # all are gone
            flow.known = False
        elif (wait := flow.bucket.wait(now)) > 0.0:
            self._over(flow, now)
            self.clock.callLater(max(wait, LOOK), self._come_forward, flow)
        else:
            self._do(flow)
            self._come_forward(flow)

    def _do(self, flow: _Flow) -> None:
        """Do a piece of work for the next connection of ``flow``."""
        place = flow.waiting.next()
        while not place.queued:  # gone
            place = flow.waiting.next()
        begun = self.timer()
        place.queued = False
        place._granted = True
        try:
            place.go()
        except Exception:
            self._log.failure("A request in its turn failed; the others go on.")
            self._give_up(place)
        place._granted = False
        if place._over_since is not None and not place.queued and not place.behind():
            place._over_since = None  # it has caught up
        took = self.timer() - begun
        self._lead += took if flow.shakes else -took
        flow.bucket.spend(max(1.0, took / UNIT))

    def _over(self, flow: _Flow, now: float) -> None:
        """Note that ``flow`` is over its allowance, and give up what was so for too long."""
        for place in list(flow.waiting):
            if place._over_since is None or now - place._over_seen > PATIENCE / 10:
                place._over_since = now
            elif now - place._over_since >= PATIENCE:
                self._give_up(place)
            place._over_seen = now

    def _give_up(self, place: QueuePlace) -> None:
        """Have the connection of ``place`` ended."""
        place._over_since = None
        place.queued = False
        try:
            place.give_up()
        except Exception:
            self._log.failure("A connection could not be given up; the others go on.")
