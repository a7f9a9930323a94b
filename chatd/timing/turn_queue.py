"""Work that is done a little in each turn of the reactor, so that everyone else is served in
between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

#: Of those who wait together, how many are woken in one turn.
WOKEN = 32
#: Of many to whom the same is done, to how many in one turn.
A_TURN = 100
#: Seconds for which calls are made in one turn.
LONG = 0.01

T = TypeVar("T")


class TurnQueue:
    """Makes each added call once, in order, in each turn of the reactor ``a_turn`` of them, or as
    many as take `LONG` seconds together."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, a_turn: int) -> None:
        self._clock = clock
        self._a_turn = a_turn
        self._waiting: dict[Callable[[], None], None] = {}
        self._coming = False

    def add(self, call: Callable[[], None]) -> None:
        """Make ``call`` in a later turn. Does nothing if it is queued already."""
        self._waiting[call] = None
        self._come()

    def _come(self) -> None:
        if not self._coming:
            self._coming = True
            self._clock.callLater(0, self._turn)

    def wait(self) -> Deferred[None]:
        """A Deferred that fires in a later turn, and may be cancelled."""
        waiter: Deferred[None] = Deferred()
        self.add(partial(waiter.callback, None))
        return waiter

    def _turn(self) -> None:
        until = self._clock.seconds() + LONG
        for call in list(islice(self._waiting, self._a_turn)):
            del self._waiting[call]
            try:
                call()
            except Exception:
                self._log.failure("A call in its turn failed; the others go on.")
            if self._clock.seconds() >= until:
                break
        self._coming = False
        if self._waiting:
            self._come()


class Waiter(Protocol):
    """One who waits: a Deferred, or something smaller."""

    def callback(self, result: Any, /) -> None:
        """Something has happened."""


class WaitingInTurns:
    """Those who are told when something has happened: the first `WOKEN` at once, as many more in
    each turn of ``turns``."""

    _log = Logger()

    def __init__(self, turns: TurnQueue) -> None:
        self._turns = turns
        self._waiting: dict[Waiter, None] = {}
        #: Those for whom something has happened.
        self._due: dict[Waiter, None] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._due)

    def wait(self) -> Deferred[None]:
        """A Deferred for what happens next, which may be cancelled."""
        waiter: Deferred[None] = Deferred(self.leave)
        self.join(waiter)
        return waiter

    def join(self, waiter: Waiter) -> None:
        """Tell ``waiter`` of what happens next, once."""
        self._waiting[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Do not tell ``waiter`` any more. May be called at any time."""
        self._waiting.pop(waiter, None)
        self._due.pop(waiter, None)

    def wake(self) -> None:
        """Something has happened."""
        served, waiting = not self._due, self._waiting
        self._waiting = {}
        self._due.update(waiting)
        if served:
            self._turn()

    def _turn(self) -> None:
        for waiter in list(self._due)[:WOKEN]:
            if waiter in self._due:  # the one before it may have cancelled it
                del self._due[waiter]
                try:
                    waiter.callback(None)
                except Exception:
                    self._log.failure("One who waited failed; the others go on.")
        if self._due:
            self._turns.add(self._turn)


def in_turns(clock: IReactorTime, many: Iterable[T], call: Callable[[T], object]) -> None:
    """Call ``call`` with each of ``many``, which do not change: with `A_TURN` of them now, or as
    many as take `LONG` seconds together, and so on in each later turn. If one call fails, that is
    logged, and the others go on."""
    rest = iter(many)
    later = clock.callLater(0, in_turns, clock, rest, call)  # before what the calls put off
    until = clock.seconds() + LONG
    for count, one in enumerate(rest, 1):
        try:
            call(one)
        except Exception:
            _log.failure("A call failed; the others go on.")
        if count == A_TURN or clock.seconds() >= until:
            return
    if later.active():  # a clock that was stopped meanwhile has cancelled it
        later.cancel()


_log = Logger()
