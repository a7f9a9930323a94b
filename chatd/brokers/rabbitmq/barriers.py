"""Knowing that all that was stored in a stream has come.

A node reads from the replica on the host of RabbitMQ that it is connected to. That may lag behind
the others, so what it ends with is not the stream's end: clients of other nodes may have read
further. But every replica has all records in the same order. So a **barrier** is appended, a fence
(`chatd.brokers.rabbitmq.consumer`) with a name of its own; when it comes, so has all that was
stored before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import token_hex

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import Lagging, Unavailable
from chatd.timing.singleflight import SingleFlight

#: Seconds for a barrier to come.
PATIENCE = 2.0
#: Seconds between a barrier that has come and the next, which is a record like any other to
#: RabbitMQ, and which everyone who names a cursor can cause; and at most, after more than `VAIN`
#: barriers that brought nothing.
APART, MOST_APART, VAIN = 0.25, 2.0, 8

#: What is wrong where not all comes that there is, and where nothing is stored.
LAGS = "this host of RabbitMQ lags behind"
BRINGS_NOTHING = "this host of RabbitMQ does not bring what is stored"
_TAKES_NOTHING = "RabbitMQ does not say that it has stored anything"


@define(eq=False)
class Barriers:
    """The barriers in a stream. ``append`` appends one by its name; it fails with `Unavailable` or
    `NoSuchStream`. ``end`` is the offset of the newest record that was handed over. The owner calls
    `among` for what is delivered, and `stop` at the end."""

    clock: IReactorTime
    append: Callable[[str], Deferred[None]]
    end: Callable[[], int]
    _sharing: SingleFlight[None, None] = field(factory=SingleFlight, init=False)
    _name: bytes = field(default=b"", init=False)
    _waiting: Deferred[None] | None = field(default=None, init=False)
    #: Whether the barrier that is waited for is stored.
    _stored: bool = field(default=False, init=False)
    #: Before when there is no other barrier (the clock's seconds).
    _next: float = field(default=float("-inf"), init=False)
    #: Barriers that brought nothing, in a row.
    _vain: int = field(default=0, init=False)
    #: The newest record when a barrier came last.
    _known: int | None = field(default=None, init=False)

    async def reach(self) -> None:
        """Return when all that was in the stream at the time of the call has come. Raises
        `Unavailable` (`Lagging` if a barrier is stored, and does not come) or `NoSuchStream`."""
        if not self._sharing.idle(None):
            # one that is under way may have been appended too early
            await self._sharing.run(None, self._append_and_wait)
        await self._sharing.run(None, self._append_and_wait)

    async def _append_and_wait(self) -> None:
        pause = self._next - self.clock.seconds()
        try:
            if pause > 0:
                self._waiting = deferLater(self.clock, pause)
                await self._waiting
            await self._append().addTimeout(PATIENCE, self.clock, self._late)
            self._has_come()
        except CancelledError:
            raise Unavailable("the stream is no longer followed") from None
        finally:
            self._name, self._waiting = b"", None
            self._next = self.clock.seconds() + self._apart()

    def _has_come(self) -> None:
        before, self._known = self._known, self.end()
        self._vain = self._vain + 1 if self._known == before else 0

    def _apart(self) -> float:
        """Seconds from now to the next barrier."""
        return min(MOST_APART, APART * 2.0 ** min(max(0, self._vain - VAIN), 9))

    def _append(self) -> Deferred[None]:
        """Append a barrier; fires when it comes."""
        name, coming = token_hex(16), Deferred[None]()
        self._name, self._waiting, self._stored = name.encode(), coming, False

        def stored(_: None) -> None:
            if self._waiting is coming:
                self._stored = True

        def failed(failure: Failure) -> None:
            if self._waiting is coming:
                self._waiting = None
                # who asks for the end stores nothing, so `NotStored` would say nothing
                unavailable = failure.check(Unavailable) is not None
                coming.errback(Unavailable(str(failure.value)) if unavailable else failure)

        # not waited for: that the barrier comes says more
        self.append(name).addCallbacks(stored, failed)
        return coming

    def among(self, batch: Sequence[Delivery]) -> Callable[[], None] | None:
        """What to call once ``batch`` was handed over; None if the barrier that is waited for is
        not in it."""
        coming = self._waiting
        if not self._name or coming is None:
            return None
        if not any(self._name in one.raw for one in batch if not one.body):
            return None
        # handing over may take so long that the next barrier is waited for by then
        return lambda: self._come(coming)

    def _come(self, coming: Deferred[None]) -> None:
        """All before the barrier that ``coming`` stands for was handed over."""
        if self._waiting is coming:
            self._waiting = None
            coming.callback(None)

    def stop(self) -> None:
        """Wait no longer."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def _late(self, result: object, timeout: float) -> None:
        raise Lagging(LAGS) if self._stored else Unavailable(_TAKES_NOTHING)
