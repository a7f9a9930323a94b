"""A timer wheel: any number of deadlines that share one delayed call."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatd.timing.turn_queue import in_turns

#: Seconds by which a call is late where the process has stood still.
STOOD_STILL = 3.0


@define(eq=False)
class Deadline:
    """A call to be made at ``when`` (the clock's seconds), unless it is cancelled or moved."""

    when: float
    _call: Callable[[], None] | None
    _wheel: TimerWheel = field(repr=False)  # which has thousands of these
    #: The slot of the wheel that it is in, None for none.
    _slot: int | None = field(default=None, init=False)

    @property
    def active(self) -> bool:
        """Whether the call has yet to be made."""
        return self._call is not None

    @property
    def stood_still(self) -> bool:
        """Whether it is so late that this process must have stood still: it was stopped, or its
        machine suspended. What others sent meanwhile may not have been read yet."""
        return self._wheel.clock.seconds() - self.when > STOOD_STILL

    def cancel(self) -> None:
        """Do not make the call. May be called at any time, and twice."""
        if self._call is not None:
            self._call = None
            self._wheel._drop(self)

    def move(self, when: float) -> None:
        """Make the call at ``when`` instead. Moving it to later costs one assignment, so it may be
        done for every chunk received. Does nothing once the call was made."""
        sooner, self.when = when < self.when, when
        if sooner and self.active:
            self._wheel._drop(self)
            self._wheel._file(self)


@define(eq=False)
class TimerWheel:
    """Deadlines in slots of ``resolution`` seconds: a coarse timing wheel (Varghese and Lauck).

    Calls are made at most ``resolution`` seconds late, never early. Without deadlines there is no
    delayed call, so an idle process sleeps.
    """

    clock: IReactorTime
    resolution: float = 1.0
    #: How many slots the wheel looks ahead; a later deadline is filed again when it comes near.
    horizon: int = 3600
    _slots: dict[int, dict[Deadline, None]] = field(factory=dict, init=False)
    _order: list[int] = field(factory=list, init=False)
    _count: int = field(default=0, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _timer_slot: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._count

    def after(self, seconds: float, call: Callable[[], None]) -> Deadline:
        """Call ``call`` in ``seconds``."""
        return self.at(self.clock.seconds() + seconds, call)

    def at(self, when: float, call: Callable[[], None]) -> Deadline:
        """Call ``call`` at ``when`` (the clock's seconds), or soon if that is past."""
        deadline = Deadline(when, call, self)
        self._file(deadline)
        return deadline

    def again(self, due: float, seconds: float, call: Callable[[], None]) -> Deadline:
        """Call ``call`` ``seconds`` after ``due``, when the call before it was due, so that what
        repeats keeps its time and is not late by a ``resolution`` more each time. Soon, and once,
        if that is past."""
        return self.at(max(due + seconds, self.clock.seconds()), call)

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
        if timer is not None and timer.active():  # a clock that was stopped has cancelled it
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
        # thousands of clients who came in the same second are pinged in the same
        in_turns(self.clock, due, self._reach)
        if self._count:
            self._arm()

    def _reach(self, deadline: Deadline) -> None:
        call = deadline._call
        if call is None or deadline._slot is not None:
            return  # an earlier call has cancelled or moved it
        if deadline.when > self.clock.seconds():
            self._file(deadline)
            return
        deadline._call = None
        call()
