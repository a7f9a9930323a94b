"""A network and processes that exist only in simulated time: late, stalled, cut, frozen, killed.

Each process has a clock of its own. While the process is frozen nothing on it is called; all its
timers that fall due meanwhile are afterwards, as after SIGCONT.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

#: When it all begins, in seconds since the epoch: late enough for any retention.
BEGINNING = 1_800_000_000.0

Call = Callable[[], Any]


class SimulatedTime:
    """The time of everything; passes in `advance`."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self._calls: list[tuple[float, int, DelayedCall, SimulatedClock]] = []
        self._number = 0

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, from one event to the next."""
        until = self.now + seconds
        calls = self._calls
        while calls and calls[0][0] <= until:
            due, _, call, clock = calls.pop(0)
            self.now = max(self.now, due)
            if not call.cancelled:
                clock.due(call)
        self.now = until

    def add(self, call: DelayedCall, clock: SimulatedClock) -> None:
        """Have ``call`` made by ``clock`` when it is due."""
        self._number += 1
        insort(self._calls, (call.time, self._number, call, clock))


class ProcessState(Enum):
    """What a process does."""

    RUNNING = auto()
    FROZEN = auto()
    ENDED = auto()


@implementer(IReactorTime)
class SimulatedClock:
    """The clock of one process, or of the network."""

    def __init__(self, time: SimulatedTime) -> None:
        self._time = time
        self.state = ProcessState.RUNNING
        self._missed: list[Call] = []

    def seconds(self) -> float:
        return self._time.now

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kw: object
    ) -> IDelayedCall:
        due = self._time.now + delay
        call = DelayedCall(due, callable, args, kw, _nothing, _nothing, self.seconds)
        self._time.add(call, self)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        raise AssertionError("nobody asks")

    def due(self, call: DelayedCall) -> None:
        """The time of ``call`` has come."""
        self.take(partial(_make, call))

    def take(self, call: Call) -> None:
        """Do ``call`` if the process runs, after it was thawed if it is frozen, never if it has
        ended."""
        if self.state is ProcessState.RUNNING:
            call()
        elif self.state is ProcessState.FROZEN:
            self._missed.append(call)

    def freeze(self) -> None:
        """SIGSTOP."""
        if self.state is ProcessState.RUNNING:
            self.state = ProcessState.FROZEN

    def thaw(self) -> None:
        """SIGCONT: what was due comes first, in its order."""
        if self.state is ProcessState.FROZEN:
            self.state = ProcessState.RUNNING
            missed, self._missed = self._missed, []
            for call in missed:
                self.take(call)

    def end(self) -> None:
        """SIGKILL."""
        self.state = ProcessState.ENDED
        self._missed = []


def _make(call: DelayedCall) -> None:
    if not call.cancelled:
        call.called = 1
        call.func(*call.args, **call.kw)


def _nothing(call: DelayedCall) -> None:
    """A call that was cancelled is passed over when its time has come."""


@define(eq=False)
class Wire:
    """One direction of a connection: calls arrive late, in the order in which they were sent.

    ``delay`` draws the seconds that the next one takes; ``arrive`` makes a call at the other end.
    """

    clock: IReactorTime
    delay: Callable[[], float]
    arrive: Callable[[Call], None]
    #: Nothing arrives meanwhile; nothing is lost.
    stalled: bool = field(default=False, init=False)
    _queue: deque[Call] = field(factory=deque, init=False)
    _due: float = field(default=0.0, init=False)
    #: Calls that have arrived while the wire stalled.
    _owed: int = field(default=0, init=False)
    _life: int = field(default=0, init=False)

    def send(self, call: Callable[..., Any], *args: Any) -> None:
        """Have ``call`` made at the other end."""
        self._queue.append(partial(call, *args))
        now = self.clock.seconds()
        self._due = max(self._due, now + self.delay())
        self.clock.callLater(self._due - now, self._arrived, self._life)

    def _arrived(self, life: int) -> None:
        if life != self._life:
            return
        if self.stalled:
            self._owed += 1
        else:
            self.arrive(self._queue.popleft())

    def flow(self) -> None:
        """Stall no more."""
        self.stalled = False
        owed, self._owed = self._owed, 0
        for _ in range(owed):
            self._arrived(self._life)

    def cut(self, deliver: bool = False) -> None:
        """Lose what is under way, or ``deliver`` it, now."""
        under_way, self._queue = self._queue, deque()
        self._life += 1
        self._owed = 0
        for call in under_way if deliver else ():
            self.arrive(call)
