"""Checking that consumers still get what their streams have.

RabbitMQ can lose a consumer when its stream changes leaders: nothing is delivered any more, and
nothing is said. A publisher notices, because its records do not come back; a node that only reads
does not. So each following is compared with what the broker has, in two ways.

A **glance** asks for the number of records, which costs next to nothing and is a few seconds old
(a stream's figures are taken every 5 s). Where that number has grown by more than was delivered, or
otherwise does not fit while nothing is delivered, a **look** asks for the newest offset itself,
which costs RabbitMQ some milliseconds. All followings are glanced at in each cycle, many at a time.
They are looked at one after another, slowly, once to know that nothing was missing at the first
glance and then in case the numbers mislead; and all at once when leaders may have changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatd.brokers.interfaces import NoSuchStream, Stream, Unavailable
from chatd.brokers.rabbitmq.following import RabbitMQFollowing

#: Seconds in which all followings are glanced at; and between two steps of that, with each of which
#: comes one look that nothing but its turn calls for.
CYCLE, STEP = 12.0, 0.25
#: Looks at followings that were never looked at, with each step at most.
FIRST_LOOKS = 5
#: Concurrent looks.
AT_ONCE = 4
#: Seconds that a stored record may take to be delivered.
LATE = 1.0
#: Seconds between two looks at all followings, at least.
HURRY = 5.0


class Verdict(Enum):
    """What a glance says of a following."""

    FITS = auto()
    #: It fits what there was at the first glance, when something may have been missing already.
    UNSURE = auto()
    DOUBTFUL = auto()


@define(eq=False)
class Comparison:
    """Of what was delivered of a stream with the number of records that it has."""

    #: The newest offset delivered at the last glance.
    seen: int = -1
    #: The number of records less the newest offset, and whether a look has shown that nothing was
    #: missing then.
    surplus: int | None = None
    sure: bool = False

    def judge(self, seen: int, count: int) -> Verdict:
        """Compare the newest offset delivered with the number of records."""
        flowing, self.seen = seen != self.seen, seen
        if self.surplus is None:
            self.surplus = count - seen
        # while records come, the number of a few seconds ago may be too small
        fits = count - seen <= self.surplus if flowing else count - seen == self.surplus
        if not fits:
            return Verdict.DOUBTFUL
        return Verdict.FITS if self.sure else Verdict.UNSURE


@define(eq=False)
class Liveness:
    """Checks the ``followings()``. ``newest(stream)`` asks the broker for the offset of the last
    record or fence; ``counts(streams)`` for numbers of records, None for what it does not tell."""

    clock: IReactorTime
    newest: Callable[[Stream], Deferred[int]]
    counts: Callable[[Sequence[Stream]], Deferred[list[int | None]]]
    followings: Callable[[], Iterable[RabbitMQFollowing]]
    _comparisons: dict[RabbitMQFollowing, Comparison] = field(factory=dict, init=False)
    #: Followings not glanced at yet in this cycle, and how many are due, fractions included.
    _turn: deque[RabbitMQFollowing] = field(factory=deque, init=False)
    _due: float = field(default=0.0, init=False)
    _glancing: bool = field(default=False, init=False)
    _looks: deque[RabbitMQFollowing] = field(factory=deque, init=False)
    #: Followings to be looked at now, in order, and the numbers of records that called for it.
    _now: dict[RabbitMQFollowing, int | None] = field(factory=dict, init=False)
    _looking: int = field(default=0, init=False)
    _hurried: float = field(default=float("-inf"), init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _late: set[IDelayedCall] = field(factory=set, init=False)

    _log = Logger()

    def start(self) -> None:
        """Begin to check."""
        self._next = self.clock.callLater(STEP, self._step)

    def stop(self) -> None:
        """Stop checking."""
        for call in (self._next, *self._late):
            if call is not None and call.active():
                call.cancel()
        self._next = None
        self._late.clear()

    def hurry(self) -> None:
        """Look at all followings now, because leaders may have changed."""
        now = self.clock.seconds()
        if self._next is not None and now - self._hurried >= HURRY:
            self._hurried = now
            for following in self.followings():
                self._now.setdefault(following, None)  # those that wait keep their place
            self._look()

    def _step(self) -> None:
        self._next = self.clock.callLater(STEP, self._step)
        self._glance()
        if not self._looks:
            self._looks.extend(self.followings())
        if self._looks:
            self._now.setdefault(self._looks.popleft(), None)
        self._look()

    # -- glances -----------------------------------------------------------------------------------

    def _glance(self) -> None:
        """Glance at as many as are due. While the broker keeps us waiting they gather."""
        if not self._turn:
            followings = list(self.followings())
            known = self._comparisons
            self._comparisons = {one: known.get(one) or Comparison() for one in followings}
            self._turn.extend(followings)
        number = len(self._comparisons)
        self._due = min(number, self._due + number * STEP / CYCLE)
        if self._glancing or self._due < 1:
            return
        batch = [self._turn.popleft() for _ in range(min(int(self._due), len(self._turn)))]
        self._due -= len(batch)
        batch = [one for one in batch if one.level and one.seen is not None]
        if batch:
            self._glancing = True
            glancing = Deferred.fromCoroutine(self._compare_counts(batch))
            glancing.addErrback(lambda f: self._log.failure("Glancing at streams failed", f))

    async def _compare_counts(self, batch: list[RabbitMQFollowing]) -> None:
        try:
            counts = await self.counts([following.stream for following in batch])
        except Unavailable:
            counts = [None] * len(batch)
        finally:
            self._glancing = False
        first = FIRST_LOOKS
        for following, count in zip(batch, counts, strict=True):
            comparison, seen = self._comparisons.get(following), following.seen
            if comparison is None or seen is None:
                continue  # it was stopped
            verdict = Verdict.DOUBTFUL if count is None else comparison.judge(seen, count)
            if verdict is Verdict.UNSURE:
                first -= 1
            if verdict is Verdict.DOUBTFUL or (verdict is Verdict.UNSURE and first >= 0):
                self._now.setdefault(following, count)

    # -- looks -------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at what is due, several at once, so that a frozen node does not delay the others."""
        for _ in range(min(AT_ONCE - self._looking, len(self._now))):
            self._looking += 1
            looking = Deferred.fromCoroutine(self._work())
            looking.addErrback(lambda f: self._log.failure("Looking at a stream failed", f))

    async def _work(self) -> None:
        try:
            while self._now and self._next is not None:
                following = next(iter(self._now))
                await self._compare(following, self._now.pop(following))
        finally:
            self._looking -= 1

    async def _compare(self, following: RabbitMQFollowing, count: int | None) -> None:
        seen = following.seen
        if seen is None:
            return
        try:
            newest = await self.newest(following.stream)
        except (Unavailable, NoSuchStream):
            return  # the following finds out itself, or it is checked again
        comparison = self._comparisons.get(following)
        if newest == following.seen and count is not None and comparison is not None:
            comparison.surplus, comparison.sure = count - newest, True
        if self._next is not None and _is_behind(following, seen, newest):
            call = self.clock.callLater(LATE, lambda: self._settle(call, following, seen, newest))
            self._late.add(call)

    def _settle(
        self, call: IDelayedCall, following: RabbitMQFollowing, seen: int, newest: int
    ) -> None:
        self._late.discard(call)
        if _is_behind(following, seen, newest):
            following.refresh()
            self.hurry()


def _is_behind(following: RabbitMQFollowing, seen: int, newest: int) -> bool:
    """Whether nothing was delivered after the offset ``seen``, although the broker has more."""
    return following.level and following.seen == seen and newest > seen
