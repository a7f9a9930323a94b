"""Checking that consumers still get what their streams have.

RabbitMQ can lose a consumer when its stream changes leaders: nothing is delivered any more, and
nothing is said. A publisher notices, because its records do not come back; a node that only reads
does not. So each following is compared with the newest offset that the broker knows: one at a time,
at a rate that does not grow with the number of rooms; and all at once when leaders may have
changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatd.brokers.interfaces import NoSuchStream, Stream, Unavailable
from chatd.brokers.rabbitmq.follower import RabbitMQFollowing

#: Seconds in which all followings are checked, if they are few; and between two checks, at least.
CYCLE, APART = 15.0, 0.05
#: Concurrent checks.
AT_ONCE = 4
#: Seconds that a stored record may take to be delivered.
LATE = 1.0
#: Seconds between two checks of all followings at once, at least.
HURRY = 5.0


@define(eq=False)
class Liveness:
    """Checks the ``followings()``. ``newest(stream)`` asks the broker for the offset of the last
    record or fence."""

    clock: IReactorTime
    newest: Callable[[Stream], Deferred[int]]
    followings: Callable[[], Iterable[RabbitMQFollowing]]
    #: Followings not checked yet in this cycle, and followings to be checked now.
    _turn: deque[RabbitMQFollowing] = field(factory=deque, init=False)
    _now: deque[RabbitMQFollowing] = field(factory=deque, init=False)
    _looking: int = field(default=0, init=False)
    _hurried: float = field(default=float("-inf"), init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _late: set[IDelayedCall] = field(factory=set, init=False)

    _log = Logger()

    def start(self) -> None:
        """Begin to check."""
        self._wait()

    def stop(self) -> None:
        """Stop checking."""
        for call in (self._next, *self._late):
            if call is not None and call.active():
                call.cancel()
        self._next = None
        self._late.clear()

    def hurry(self) -> None:
        """Check all followings now, because leaders may have changed."""
        now = self.clock.seconds()
        if self._next is not None and now - self._hurried >= HURRY:
            self._hurried = now
            self._now = deque(self.followings())
            self._look()

    def _wait(self) -> None:
        number = sum(1 for _ in self.followings())
        self._next = self.clock.callLater(max(APART, CYCLE / max(1, number)), self._tick)

    def _tick(self) -> None:
        self._wait()
        if not self._now:
            if not self._turn:
                self._turn.extend(self.followings())
            if self._turn:
                self._now.append(self._turn.popleft())
        self._look()

    def _look(self) -> None:
        """Check what is due, several at once, so that a frozen node does not delay the others."""
        for _ in range(min(AT_ONCE - self._looking, len(self._now))):
            self._looking += 1
            looking = Deferred.fromCoroutine(self._work())
            looking.addErrback(lambda f: self._log.failure("Looking at a stream failed", f))

    async def _work(self) -> None:
        try:
            while self._now and self._next is not None:
                await self._compare(self._now.popleft())
        finally:
            self._looking -= 1

    async def _compare(self, following: RabbitMQFollowing) -> None:
        seen = following.seen
        if seen is None:
            return
        try:
            newest = await self.newest(following.stream)
        except (Unavailable, NoSuchStream):
            return  # the following finds out itself, or it is checked again
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
