"""Appending to one stream until the stream itself has brought the record back.

A broker's word that it has stored a record is only a hint. RabbitMQ before 4.0.1 confirms records
that it drops, on a channel that had one under way when its stream changed leaders
(https://github.com/rabbitmq/rabbitmq-server/pull/12236, issue 9457), and others it never confirms.
So an append is done when the stream's follower was handed its record, and not before.

What does not come is looked for: the follower begins again after its last record, which brings all
that is there. What is missing then is appended again, the same bytes under the same id, over other
channels (`IBroker.distrust`). Whoever reads the stream drops repeated ids, so a copy that was only
late does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.brokers.interfaces import IBroker, NotStored, Stream, Unavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Seconds after which a record is looked for: since it was sent without a confirm, and since it was
#: confirmed or refused. Some 5 ms are usual on a cluster of three; see ``docs/rabbitmq.rst``.
CONFIRM, SHOWN = 1.0, 0.5
#: Each further attempt waits twice as long, at most so many seconds.
LONGEST = 4.0
#: Seconds between looks at the clock while something is under way.
TICK = 0.1


class Hint(Enum):
    """What the broker said about the newest attempt."""

    NONE = auto()
    CONFIRMED = auto()
    REFUSED = auto()


@define
class Counts:
    """What was mended; ``report`` is told of each change (for metrics)."""

    #: Records that were confirmed, not stored, and appended again.
    false_confirms: Callable[[], object]
    #: Records without a confirm that were appended again.
    resent: Callable[[], object]


#: For who counts nothing.
UNCOUNTED = Counts(lambda: None, lambda: None)


@define(eq=False)
class _Append(Generic[V]):
    """A record under way. Times are the clock's seconds."""

    body: bytes
    message_id: str
    time: int
    until: float
    done: Deferred[V]
    sent: float = 0.0
    due: float = 0.0
    attempts: int = 0
    hint: Hint = Hint.NONE
    why: str = "the record was not read back in time"


@define(eq=False)
class ReadBack(Generic[K, V]):
    """What is under way to one stream, by keys that its owner recognises records by.

    ``refresh`` makes the stream's follower begin again after its last record. The owner calls
    `brought` for each record, `caught_up` whenever the follower has been, and `lost` when the
    stream is gone.
    """

    broker: IBroker
    clock: IReactorTime
    counts: Counts
    refresh: Callable[[], None]
    _under_way: dict[K, _Append[V]] = field(factory=dict, init=False)
    _looked_for: dict[K, _Append[V]] = field(factory=dict, init=False)
    _ticking: IDelayedCall | None = field(default=None, init=False)
    _stream: Stream | None = field(default=None, init=False)

    _log = Logger()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    def append(
        self, stream: Stream, key: K, body: bytes, message_id: str, time: int, until: float
    ) -> Deferred[V]:
        """Append a record; fires when the stream has brought it, with what the owner made of it.
        ``time`` is in milliseconds, ``until`` in the clock's seconds.

        Fails with `NotStored` (nothing was), `NoSuchStream`, or, at ``until`` at the latest, with
        `Unavailable`: then it may have been stored.
        """
        if key in self._under_way:
            return fail(NotStored("the record is under way already"))
        self._stream = stream
        done: Deferred[V] = Deferred()
        append = self._under_way[key] = _Append(body, message_id, time, until, done)
        self._send(key, append)
        if self._ticking is None:
            self._tick_later()
        return done

    def brought(self, key: K, outcome: V) -> None:
        """The stream has a record with this key; ``outcome`` is for who appended it."""
        append = self._under_way.pop(key, None)
        if append is not None:
            append.done.callback(outcome)

    def lost(self) -> None:
        """The stream is gone, or is another one now: what is under way may be gone with it."""
        under_way, self._under_way = self._under_way, {}
        self._looked_for = {}
        for append in under_way.values():
            append.done.errback(Unavailable("the stream is gone"))

    # -- sending -----------------------------------------------------------------------------------

    def _send(self, key: K, append: _Append[V]) -> None:
        assert self._stream is not None
        append.attempts += 1
        append.hint = Hint.NONE
        append.sent = self.clock.seconds()
        append.due = append.sent + self._slower(CONFIRM, append)
        self.broker.append(self._stream, append.body, append.message_id, append.time).addCallbacks(
            self._confirmed,
            self._refused,
            callbackArgs=(append, append.attempts),
            errbackArgs=(key, append, append.attempts),
        )

    def _slower(self, seconds: float, append: _Append[V]) -> float:
        return min(LONGEST, seconds * 2.0 ** min(append.attempts - 1, 8))

    def _confirmed(self, _: None, append: _Append[V], attempt: int) -> None:
        if attempt == append.attempts:
            append.hint = Hint.CONFIRMED
            append.due = self.clock.seconds() + self._slower(SHOWN, append)

    def _refused(self, failure: Failure, key: K, append: _Append[V], attempt: int) -> None:
        error = failure.value
        if self._under_way.get(key) is not append or attempt != append.attempts:
            return
        stored_nothing = attempt == 1 and isinstance(error, NotStored)
        if stored_nothing or self.broker.exact or not isinstance(error, Unavailable):
            # an error that is none of the broker's is the caller's to see
            del self._under_way[key]
            append.done.errback(failure)
            return
        append.hint = Hint.REFUSED
        append.why = str(error)
        append.due = self.clock.seconds() + self._slower(SHOWN, append)

    # -- looking -----------------------------------------------------------------------------------

    def _tick_later(self) -> None:
        self._ticking = self.clock.callLater(TICK, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now = self.clock.seconds()
        for key, append in list(self._under_way.items()):
            if append.until <= now:
                del self._under_way[key]
                append.done.errback(Unavailable(append.why))
        if not self._under_way:
            self._looked_for = {}
            return
        self._tick_later()
        if not self._looked_for and not self.broker.exact:
            self._look_for({k: a for k, a in self._under_way.items() if a.due <= now})

    def _look_for(self, overdue: dict[K, _Append[V]]) -> None:
        if overdue:
            self._looked_for = overdue
            self.refresh()

    def caught_up(self) -> None:
        """The follower was handed all there is."""
        looked_for, self._looked_for = self._looked_for, {}
        missing = {k: a for k, a in looked_for.items() if self._under_way.get(k) is a}
        if missing and self._stream is not None:
            newest = max(append.sent for append in missing.values())
            self._log.warn(
                "{stream}: {number} records sent are not there; sending them again",
                stream=self._stream.name,
                number=len(missing),
            )
            for append in missing.values():
                append.due = self.clock.seconds() + LONGEST  # once they were sent again
            distrusted = self.broker.distrust(self._stream, newest)
            distrusted.addCallback(lambda _: self._send_again(missing))

    def _send_again(self, missing: dict[K, _Append[V]]) -> None:
        for key, append in missing.items():
            if self._under_way.get(key) is append:
                false = append.hint is Hint.CONFIRMED
                (self.counts.false_confirms if false else self.counts.resent)()
                self._send(key, append)
