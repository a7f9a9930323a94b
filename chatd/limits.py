"""What any one caller may use up: publishes per second, connections, time.

Nothing here has a timer per connection: buckets fill when they are looked at, and all deadlines
share one delayed call.
"""

from __future__ import annotations

import heapq
import ipaddress
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatd.wire import ChatError, Code

#: ``Retry-After`` for a connection too many, in seconds.
CONNECTIONS_RETRY = 5

# -- rates -----------------------------------------------------------------------------------------


@frozen
class Rate:
    """So many events per second, with a burst of twice that, and of one at least."""

    per_second: float

    @property
    def burst(self) -> float:
        return max(1.0, 2 * self.per_second)

    def bucket(self) -> Bucket:
        """A full bucket of this rate."""
        return Bucket(self)


@define(eq=False)
class Bucket:
    """A token bucket that fills when it is looked at."""

    rate: Rate
    _level: float = field(init=False)
    _looked: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self._level = self.rate.burst

    def take(self, now: float) -> float:
        """Take one token; 0.0 if there was one, else the seconds until there will be.

        ``now`` is any clock in seconds. A clock set back adds nothing and takes nothing.
        """
        if now > self._looked:
            gained = (now - self._looked) * self.rate.per_second
            self._level = min(self.rate.burst, self._level + gained)
        self._looked = now
        if self._level >= 1.0:
            self._level -= 1.0
            return 0.0
        return (1.0 - self._level) / self.rate.per_second

    def check(self, now: float) -> None:
        """Take one token, or raise `ChatError` rate_limited with the seconds to wait."""
        wait = self.take(now)
        if wait > 0.0:
            seconds = max(1, math.ceil(wait))
            raise ChatError(
                Code.RATE_LIMITED,
                f"At most {self.rate.per_second:g} messages a second; wait {wait:.2f} s.",
                retry=seconds,
            )


@define(eq=False)
class Buckets:
    """A bucket per key, such as (user, address), for callers without a connection of their own.

    Buckets that have had time to fill again say nothing and are dropped; of the others at most
    ``limit`` are kept, the one used longest ago making room, so memory is bounded.
    """

    rate: Rate
    limit: int = 100_000
    _buckets: OrderedDict[Hashable, tuple[Bucket, float]] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, now: float) -> float:
        """As `Bucket.take`, for the bucket of ``key``."""
        return self._of(key, now).take(now)

    def check(self, key: Hashable, now: float) -> None:
        """As `Bucket.check`, for the bucket of ``key``."""
        self._of(key, now).check(now)

    def _of(self, key: Hashable, now: float) -> Bucket:
        self._drop_full(now)
        bucket, _ = self._buckets.get(key) or (self.rate.bucket(), now)
        self._buckets[key] = (bucket, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self.limit:
            self._buckets.popitem(last=False)
        return bucket

    def _drop_full(self, now: float) -> None:
        # Two at most each time: as many as come in are let go, and no call pays for all of them.
        until = now - self.rate.burst / self.rate.per_second
        for _ in range(2):
            oldest = next(iter(self._buckets.items()), None)
            if oldest is None or oldest[1][1] > until:
                return
            del self._buckets[oldest[0]]


# -- connections -----------------------------------------------------------------------------------


def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 site is given
    (RFC 6177); anything else, such as ``unix``, is itself."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))


@define(eq=False)
class Connections:
    """Counts what is held open (sockets, event streams, waiting polls), in all and per address."""

    limit: int
    per_address: int
    total: int = field(default=0, init=False)
    _by_address: defaultdict[str, int] = field(factory=lambda: defaultdict(int), init=False)

    def admit(self, address: str) -> Callable[[], None]:
        """Count one more from ``address``; call what is returned when it ends (twice is once).

        Raises `ChatError` unavailable, with ``retry``, for one too many.
        """
        network = network_of(address)
        if self.total >= self.limit:
            raise ChatError(
                Code.UNAVAILABLE,
                "The server has all the connections it may have; try again.",
                retry=CONNECTIONS_RETRY,
            )
        if self._by_address.get(network, 0) >= self.per_address:
            raise ChatError(
                Code.UNAVAILABLE,
                "Too many connections from your address; close some, or try again.",
                retry=CONNECTIONS_RETRY,
            )
        self.total += 1
        self._by_address[network] += 1
        held = [network]

        def release() -> None:
            if held:
                self._release(held.pop())

        return release

    def _release(self, network: str) -> None:
        self.total -= 1
        self._by_address[network] -= 1
        if not self._by_address[network]:
            del self._by_address[network]


# -- deadlines -------------------------------------------------------------------------------------


@define(eq=False)
class Deadline:
    """One call to be made later, unless it is cancelled or put off."""

    when: float
    _call: Callable[[], None] | None
    _wheel: Deadlines
    #: Where it is filed; ``None`` while it is nowhere.
    _slot: int | None = field(default=None, init=False)

    @property
    def active(self) -> bool:
        """Still to come."""
        return self._call is not None

    def cancel(self) -> None:
        """Never call. May be called at any time, and twice."""
        if self._call is not None:
            self._call = None
            self._wheel._drop(self)

    def move(self, when: float) -> None:
        """Fall due at ``when`` instead, on the wheel's clock. Putting off costs one assignment, so
        it may be done for every chunk received. Nothing happens once it has fallen due."""
        sooner, self.when = when < self.when, when
        if sooner and self.active:
            self._wheel._drop(self)
            self._wheel._file(self)


@define(eq=False)
class Deadlines:
    """Any number of deadlines behind one delayed call: a coarse timing wheel (Varghese and Lauck).

    Each is called at most ``resolution`` seconds late, never early. While there is none there is
    no delayed call, so an idle process sleeps.
    """

    clock: IReactorTime
    resolution: float = 1.0
    #: No slot lies further ahead than this many; what is due later is filed again from there.
    horizon: int = 3600
    _slots: dict[int, dict[Deadline, None]] = field(factory=dict, init=False)
    _order: list[int] = field(factory=list, init=False)
    _count: int = field(default=0, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _timer_slot: int = field(default=0, init=False)

    _log = Logger()

    def __len__(self) -> int:
        return self._count

    def after(self, seconds: float, call: Callable[[], None]) -> Deadline:
        """Call ``call`` when ``seconds`` have passed."""
        return self.at(self.clock.seconds() + seconds, call)

    def at(self, when: float, call: Callable[[], None]) -> Deadline:
        """Call ``call`` at ``when`` on the wheel's clock, in seconds; soon if that is past."""
        deadline = Deadline(when, call, self)
        self._file(deadline)
        return deadline

    def _file(self, deadline: Deadline) -> None:
        present = math.floor(self.clock.seconds() / self.resolution)
        ahead = min(deadline.when / self.resolution, present + self.horizon)
        slot = max(math.ceil(ahead), present + 1)
        deadline._slot = slot
        if slot not in self._slots:
            self._slots[slot] = {}
            heapq.heappush(self._order, slot)
        self._slots[slot][deadline] = None
        self._count += 1
        self._arm()

    def _drop(self, deadline: Deadline) -> None:
        if deadline._slot is None:
            return
        del self._slots[deadline._slot][deadline]
        deadline._slot = None
        self._count -= 1
        if not self._count:
            self._slots.clear()
            self._order.clear()
            self._disarm()

    def _arm(self) -> None:
        if self._timer is not None:
            if self._timer_slot <= self._order[0]:
                return
            self._disarm()
        self._timer_slot = self._order[0]
        delay = max(0.0, self._timer_slot * self.resolution - self.clock.seconds())
        self._timer = self.clock.callLater(delay, self._turn)

    def _disarm(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():  # a clock that ends cancels all there is
            timer.cancel()

    def _turn(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        due: list[Deadline] = []
        while self._order and self._order[0] * self.resolution <= now:
            due.extend(self._slots.pop(heapq.heappop(self._order)))
        self._count -= len(due)
        for deadline in due:
            deadline._slot = None
        for deadline in due:
            self._reach(deadline, now)
        if self._count:
            self._arm()

    def _reach(self, deadline: Deadline, now: float) -> None:
        call = deadline._call
        if call is None or deadline._slot is not None:
            return  # an earlier call of this turn cancelled it, or moved it
        if deadline.when > now:
            self._file(deadline)
            return
        deadline._call = None
        try:
            call()
        except Exception:
            self._log.failure("A deadline's call failed; the others go on.")
