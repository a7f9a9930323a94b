"""Appending to a stream until the record has been read back from it.

A broker's confirm is only a hint. RabbitMQ before 4.0.1 confirms records that it drops, on a
channel that had a publish under way when its stream changed leaders
(https://github.com/rabbitmq/rabbitmq-server/pull/12236, issue 9457); others it never confirms. So
an append is done when the stream's follower has got the record, and not before.

If a record does not come, the follower reads again after its last record, which brings everything
that the broker has for this node, and the broker is asked how far the stream goes (`IBroker.end`).
Records that are missing then are appended again, with the same bytes and id, over other channels
(`IBroker.distrust`). Readers drop repeated ids, so a record that was only late does no harm.
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

from chatd.brokers.interfaces import IBroker, NoSuchStream, NotStored, Stream, Unavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Seconds after which a missing record is looked for: after sending it, if there is no confirm; and
#: after a confirm or a refusal. About 5 ms are usual on a cluster of three (``docs/rabbitmq.rst``).
CONFIRM, SHOWN = 1.0, 0.5
#: Each further attempt waits twice as long, up to this many seconds.
LONGEST = 4.0
#: Seconds between checks for records that are overdue.
TICK = 0.1
#: When a record is looked for again while it is found out what has become of it.
JUDGED = float("inf")


class Hint(Enum):
    """What the broker answered to the newest attempt."""

    NONE = auto()
    CONFIRMED = auto()
    REFUSED = auto()


@define
class Counts:
    """Functions to be called when a record was appended again, for metrics."""

    #: For each record that was confirmed, and was not stored.
    false_confirms: Callable[[], object]
    #: For each record that was not confirmed.
    resent: Callable[[], object]


UNCOUNTED = Counts(lambda: None, lambda: None)


@define(eq=False)
class _Append(Generic[V]):
    """An append under way. ``until``, ``sent`` and ``due`` are in the clock's seconds."""

    stream: Stream
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
    """The appends under way to one stream, by a key that the owner finds in each record. Between
    two streams of a room lies a call of `lost`.

    ``refresh`` makes the stream's follower read again after its last record. The owner calls
    `brought` for each record read, `caught_up` when its follower has caught up, and `lost` when the
    stream is gone. ``fault`` is that of `IFollowing`, "" without one.
    """

    broker: IBroker
    clock: IReactorTime
    counts: Counts
    refresh: Callable[[], None]
    fault: Callable[[], str]
    #: By key; only looked at from outside.
    under_way: dict[K, _Append[V]] = field(factory=dict, init=False)
    _looked_for: dict[K, _Append[V]] = field(factory=dict, init=False)
    _ticking: IDelayedCall | None = field(default=None, init=False)
    #: When a record came back last, and when the latest of those that came was sent.
    _came: float = field(default=float("-inf"), init=False)
    _came_of: float = field(default=float("-inf"), init=False)

    _log = Logger()

    def append(
        self, stream: Stream, key: K, body: bytes, message_id: str, time: int, until: float
    ) -> Deferred[V]:
        """Append a record. Fires when it has been read back, with the outcome given to `brought`.
        ``time`` is in milliseconds since the epoch, ``until`` in the clock's seconds.

        Fails with `NotStored`, `NoSuchStream` or, at ``until`` at the latest, `Unavailable`.
        """
        if key in self.under_way:
            return fail(NotStored("the record is under way already"))
        done: Deferred[V] = Deferred()
        append = self.under_way[key] = _Append(stream, body, message_id, time, until, done)
        self._send(key, append)
        if self._ticking is None:
            self._tick_later()
        return done

    def brought(self, key: K, outcome: V) -> None:
        """A record with ``key`` was read; ``outcome`` is passed to the caller of `append`."""
        append = self.under_way.pop(key, None)
        if append is not None:
            self._came, self._came_of = self.clock.seconds(), max(self._came_of, append.sent)
            append.done.callback(outcome)

    def give_up(self, key: K, why: str) -> None:
        """Fail the append of the record with ``key`` with `Unavailable`, if it is under way."""
        append = self.under_way.pop(key, None)
        if append is not None:
            append.done.errback(Unavailable(why))

    def lost(self) -> None:
        """Fail all appends under way with `Unavailable`: the stream is gone."""
        under_way, self.under_way = self.under_way, {}
        self._looked_for = {}
        for append in under_way.values():
            append.done.errback(Unavailable("the stream is gone"))

    # -- sending -----------------------------------------------------------------------------------

    def _send(self, key: K, append: _Append[V]) -> None:
        append.attempts += 1
        append.hint = Hint.NONE
        append.sent = self.clock.seconds()
        first = append.attempts == 1
        append.due = append.sent + (CONFIRM if first else self._slower(CONFIRM, append))
        self.broker.append(append.stream, append.body, append.message_id, append.time).addCallbacks(
            self._confirmed,
            self._refused,
            callbackArgs=(append, append.attempts),
            errbackArgs=(key, append, append.attempts),
        )

    def _slower(self, seconds: float, append: _Append[V]) -> float:
        if append.attempts == 1:
            return seconds
        return min(LONGEST, seconds * 2.0 ** min(append.attempts - 1, 8))

    def _confirmed(self, _: None, append: _Append[V], attempt: int) -> None:
        if attempt == append.attempts and not append.done.called:
            append.hint = Hint.CONFIRMED
            self._answered(append)

    def _answered(self, append: _Append[V]) -> None:
        """The broker has answered to the newest attempt."""
        if append.due < JUDGED:
            more = SHOWN if append.attempts == 1 else self._slower(SHOWN, append)
            append.due = self.clock.seconds() + more

    def _refused(self, failure: Failure, key: K, append: _Append[V], attempt: int) -> None:
        error = failure.value
        if self.under_way.get(key) is not append or attempt != append.attempts:
            return
        stored_nothing = attempt == 1 and isinstance(error, NotStored)
        if stored_nothing or self.broker.exact or not isinstance(error, Unavailable):
            # any other error is passed to the caller
            del self.under_way[key]
            append.done.errback(failure)
            return
        append.why = str(error)
        append.hint = Hint.REFUSED
        self._answered(append)

    # -- looking -----------------------------------------------------------------------------------

    def _tick_later(self) -> None:
        if self._ticking is None:  # who learns of a failure may append at once
            self._ticking = self.clock.callLater(TICK, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now = self.clock.seconds()
        self._give_up_blocked(now)
        overdue = {k: a for k, a in self.under_way.items() if a.until <= now}
        for key in overdue:
            del self.under_way[key]
        for append in overdue.values():
            # nothing comes back from a stream that cannot be read, whatever became of the record
            append.done.errback(Unavailable(self.fault() or append.why))
        if not self.under_way:
            self._looked_for = {}
            return
        self._tick_later()
        if not self._looked_for and not self.broker.exact:
            due = {k: a for k, a in self.under_way.items() if a.due <= now}
            self._look_for({k: a for k, a in due.items() if not self._follows(a, now)})

    def _follows(self, append: _Append[V], now: float) -> bool:
        """Whether the record comes behind others that are coming: none that was sent later has come
        before it. To read again what is on its way would only delay all of it."""
        return now - self._came < SHOWN and append.sent >= self._came_of

    def _give_up_blocked(self, now: float) -> None:
        """While the broker takes no records, wait only for what it took before. RabbitMQ says that
        it is blocked when something is published, and holds that back until it is not
        (https://www.rabbitmq.com/docs/connection-blocked)."""
        why = str(self.broker.blocked)
        if why:
            for append in self.under_way.values():
                append.until = min(append.until, now + SHOWN)
                append.why = f"it takes no messages: {why}"

    def _look_for(self, overdue: dict[K, _Append[V]]) -> None:
        if overdue:
            self._looked_for = overdue
            self.refresh()

    def caught_up(self) -> None:
        """The follower has read everything that the broker has for this node."""
        looked_for, self._looked_for = self._looked_for, {}
        missing = {k: a for k, a in looked_for.items() if self.under_way.get(k) is a}
        if missing:
            stream = next(iter(missing.values())).stream
            newest = max(append.sent for append in missing.values())
            missing = self._sent_until(newest)
            for append in missing.values():
                append.due = JUDGED
            distrusted = self.broker.distrust(stream, newest)
            # what the node reads may lag behind the stream, and a record that is there already
            # must not be sent again: later it would be too far from the first to be a repeat
            known = distrusted.addCallback(lambda _: self.broker.end(stream))
            known.addCallbacks(
                lambda _: self._send_again(stream, missing), self._not_known, errbackArgs=(missing,)
            )

    def _sent_until(self, newest: float) -> dict[K, _Append[V]]:
        """What was sent up to then, as far as it is not being judged. It is missing as well, even
        if it would be looked for later, for want of a confirm; and sent again after the others it
        would come after them."""
        under_way = self.under_way.items()
        return {k: a for k, a in under_way if a.sent <= newest and a.due < JUDGED}

    def _not_known(self, failure: Failure, missing: dict[K, _Append[V]]) -> None:
        """The stream's end cannot be told now: look for the records again."""
        failure.trap(Unavailable, NoSuchStream)
        for append in missing.values():
            append.why = str(failure.value) or append.why
            append.due = self.clock.seconds() + SHOWN

    def _send_again(self, stream: Stream, missing: dict[K, _Append[V]]) -> None:
        """All that was in the stream has come; what is ``missing`` still was not stored."""
        missing = {k: a for k, a in missing.items() if self.under_way.get(k) is a}
        if not missing:
            self.broker.trust(stream)
            return
        self._log.warn(
            "{stream}: {number} records sent are not there; sending them again",
            stream=stream.name,
            number=len(missing),
        )
        for key, append in missing.items():
            if self.under_way.get(key) is append:
                false = append.hint is Hint.CONFIRMED
                (self.counts.false_confirms if false else self.counts.resent)()
                self._send(key, append)
