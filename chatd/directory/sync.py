"""Making sure that this node has all of the directory that was there a moment ago.

A room that was made on another node is to be found here as soon as its maker was told. But what a
node knows is behind by what is on its way to it; by much if its process was stopped, its machine
suspended, or the broker slow. So before a client is told that a room does not exist, that it may
not enter one, or that a change is needless, the broker is asked for what there is. What is known to
exist needs no asking, unless this process has stood still: then all that it knows may be long past.

This is what ZooKeeper calls sync: a read after it sees all that was acknowledged before.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import DIRECTORY, IBroker, Unavailable
from chatd.directory.stream import DirectoryStream
from chatd.directory.unavailable import unavailable
from chatd.timing.singleflight import SingleFlight

#: Seconds that one may take; some milliseconds are usual.
PATIENCE = 3.0
#: Seconds between two that are spaced, after the first `BURST`: those that anyone can cause, by
#: names that nobody has.
APART, BURST = 0.1, 50
#: Seconds between looks whether the directory is proved.
LOOK = 0.05


@define(eq=False)
class DirectorySync:
    """Waits until all has come that the directory had. All who ask meanwhile share one look."""

    broker: IBroker
    clock: IReactorTime
    stream: DirectoryStream
    #: Whether the directory can be read and written here (`Readiness.ready`): where it cannot, this
    #: host of the broker may lag behind the others.
    proved: Callable[[], bool] = field(default=lambda: True)
    #: How often this process has stood still (`chatd.timing.steady`).
    standstills: Callable[[], int] = field(default=lambda: 0)
    #: One for looks that are spaced, one for the others.
    _sharing: SingleFlight[bool, None] = field(factory=SingleFlight, init=False)
    _catching_up: SingleFlight[None, None] = field(factory=SingleFlight, init=False)
    #: Those after which it was made sure that all has come.
    _made_good: int = field(default=0, init=False)
    #: Before when there is no other spaced look, but for those of a burst (the clock's seconds).
    _next: float = field(default=float("-inf"), init=False)

    @property
    def current(self) -> bool:
        """Whether this node has heard of all but what is on its way: its process has not stood
        still since it made sure."""
        return self.broker.exact or self.standstills() == self._made_good

    async def catch_up(self) -> None:
        """Return when `current`. All who wait go on in their order, before anyone who comes later.
        Raises `ChatError` unavailable."""
        while not self.current:
            await self._catching_up.run(None, self._catch_up)

    async def _catch_up(self) -> None:
        stood_still = self.standstills()
        await self.reach(spaced=False)
        self._made_good = stood_still

    async def reach(self, spaced: bool = True) -> None:
        """Return when all that was in the directory at the time of the call has been folded; at
        once if the broker is `IBroker.exact`. ``spaced`` is for what anyone can cause. Raises
        `ChatError` unavailable."""
        if self.broker.exact:
            return
        until = self.clock.seconds() + PATIENCE
        try:
            if not self._sharing.idle(spaced):
                await self._share(until, spaced)  # one under way may have looked too early
            await self._share(until, spaced)
        except Unavailable as e:
            raise unavailable(e) from None
        except TimeoutError:
            raise unavailable() from None

    async def _share(self, until: float, spaced: bool) -> None:
        left = max(0.0, until - self.clock.seconds())
        look = self._sharing.run(spaced, self._look_in_time if spaced else self._look)
        await look.addTimeout(left, self.clock)

    async def _look_in_time(self) -> None:
        now = self.clock.seconds()
        self._next = max(self._next, now - BURST * APART) + APART
        if self._next > now:
            await self._pause(self._next - now)
        await self._look()

    async def _look(self) -> None:
        until = self.clock.seconds() + PATIENCE
        while self.stream.level and not self.proved() and self.clock.seconds() < until:
            await self._pause(LOOK)
        if not self.stream.level or not self.proved():
            raise Unavailable("what it has is not known to be all")
        await self.broker.sync(DIRECTORY)

    def _pause(self, seconds: float) -> Deferred[None]:
        pause: Deferred[None] = Deferred()
        self.clock.callLater(seconds, pause.callback, None)
        return pause
