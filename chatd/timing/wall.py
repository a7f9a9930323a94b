"""The time of day: for the times of messages, the expiry of tokens and retention. It can be set
forward and back while chatd runs, so waiting is done by a monotonic clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatd.timing.timer_wheel import Deadline, TimerWheel

#: Seconds that the time of day may gain or lose between two readings without counting as set.
STEP = 2.0
#: Seconds between two readings.
LOOK = 1.0
#: Seconds between two readings by an `Alarm`.
AGAIN = 30.0
#: Steps forward that are remembered.
STEPS = 32


class WallClock:
    """The time of day by ``read()`` (seconds since the epoch), compared with the monotonic
    ``clock``: a difference between the two means that the time of day was set.

    Without ``read`` the time of ``clock`` is also the time of day.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, read: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._steady = clock.seconds
        #: The time of day, for what is only shown: whether it was set is not looked at.
        self.read = read or clock.seconds
        self._ahead = self.read() - clock.seconds()
        #: The time of day just before and just after each step forward.
        self._steps: deque[tuple[float, float]] = deque(maxlen=STEPS)

    def seconds(self) -> float:
        """Seconds since the epoch."""
        now, steady = self.read(), self._steady()
        step, self._ahead = now - steady - self._ahead, now - steady
        if step > STEP:
            self._forward(now, step)
        elif step < -STEP:
            self._back(-step)
        return now

    def milliseconds(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.seconds() * 1000)

    def oldest(self, age: int) -> int:
        """The time (milliseconds since the epoch) before which messages are older than ``age``
        seconds.

        The time skipped by a step forward has not passed, so it makes no message older. Messages
        from before a step back keep their times, and are kept longer by the length of the step.
        """
        oldest = self.seconds() - age
        for place in range(len(self._steps) - 1, -1, -1):
            before, after = self._steps[place]
            if oldest > after:
                break  # all messages from before the step have expired
            oldest -= after - before
        return int(oldest * 1000)

    def watch(self) -> None:
        """Read the time of day every `LOOK` seconds, to tell a step from time that passed."""
        self.seconds()
        self._clock.callLater(LOOK, self.watch)

    def _forward(self, now: float, step: float) -> None:
        self._log.warn(
            "The clock was set forward by {step} s. What was said before is kept as long as if it"
            " had not been: retention counts on from the newest message's time.",
            step=round(step, 1),
        )
        self._steps.append((now - step, now))

    def _back(self, step: float) -> None:
        self._log.warn(
            "The clock was set back by {step} s. What was said before keeps its time, and is kept"
            " longer by as much.",
            step=round(step, 1),
        )
        while self._steps and step > 0:
            before, after = self._steps.pop()
            if after - before > step:
                self._steps.append((before, after - step))
            step -= after - before


@define(eq=False)
class Alarm:
    """Calls ``call`` when the time of day reaches ``when`` (seconds since the epoch), up to `AGAIN`
    seconds later if the time of day was set."""

    when: float
    _call: Callable[[], None]
    _wall: WallClock
    _deadlines: TimerWheel
    _next: Deadline = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._wait()

    @property
    def due(self) -> bool:
        """Whether the time of day has reached it, although the call may have yet to be made."""
        return self._wall.seconds() >= self.when

    def cancel(self) -> None:
        """Do not make the call. May be called at any time, and twice."""
        self._next.cancel()

    def _wait(self) -> None:
        left = self.when - self._wall.seconds()
        self._next = self._deadlines.after(min(left, AGAIN), self._look)

    def _look(self) -> None:
        if self.due:
            self._call()
        else:
            self._wait()
