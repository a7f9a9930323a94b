"""Whether followings are where their streams end.

RabbitMQ can lose sight of a consumer when its stream changes leaders: nothing comes any more, and
nothing is said. Who publishes notices that what was stored does not come; who only reads is told
here. One following after another is compared with the newest offset that the broker knows, at a
rate that does not grow with the number of rooms, and all of them whenever there is a sign that
leaders may have changed.
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

#: Seconds in which all are looked at, while they are few; and from one look to the next, at least.
CYCLE, APART = 15.0, 0.05
#: Looks under way at once.
AT_ONCE = 4
#: Seconds that a record which is stored may take to come.
LATE = 1.0
#: Seconds between two times that all are looked at without a pause, at least.
HURRY = 5.0


@define(eq=False)
class Liveness:
    """Looks after what ``followings()`` gives; ``newest`` asks the broker for the offset of a
    stream's last record or fence."""

    clock: IReactorTime
    newest: Callable[[Stream], Deferred[int]]
    followings: Callable[[], Iterable[RabbitMQFollowing]]
    #: Those not looked at in this cycle, and those to be looked at without a pause.
    _turn: deque[RabbitMQFollowing] = field(factory=deque, init=False)
    _now: deque[RabbitMQFollowing] = field(factory=deque, init=False)
    _looking: int = field(default=0, init=False)
    _hurried: float = field(default=float("-inf"), init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _late: set[IDelayedCall] = field(factory=set, init=False)

    _log = Logger()

    def start(self) -> None:
        """Begin to look."""
        self._wait()

    def stop(self) -> None:
        """Look no more."""
        for call in (self._next, *self._late):
            if call is not None and call.active():
                call.cancel()
        self._next = None
        self._late.clear()

    def hurry(self) -> None:
        """Leaders may have changed: look at all soon."""
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
        """Look at what is due, some at once: a frozen node must not hold the others up."""
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
            return  # the following is told, or this is tried again
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
    """Whether nothing has come since ``seen``, though there is more."""
    return following.level and following.seen == seen and newest > seen
