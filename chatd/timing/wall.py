"""The time of day. It serves for the times of messages, the expiry of tokens and retention; nothing
waits by it, for it can be set, by an hour and in either direction, while chatd runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatd.timing.timer_wheel import Deadline, TimerWheel

#: A clock that is corrected gains or loses less than this (seconds) between two looks at it.
STEP = 2.0
#: Seconds between two looks.
LOOK = 1.0
#: Seconds after which an alarm looks again what time it is.
AGAIN = 30.0
#: Steps forward that are remembered, the newest.
STEPS = 32


class WallClock:
    """The time of day as ``read()`` tells it (seconds since the epoch), held against ``clock``,
    which is monotonic: where the two part, somebody has set the time of day.

    Without ``read`` the clock's own time is taken for the time of day.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, read: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._read = read or clock.seconds
        self._ahead = self._read() - clock.seconds()
        #: The time of day just before and just after each step forward.
        self._steps: deque[tuple[float, float]] = deque(maxlen=STEPS)

    def seconds(self) -> float:
        """Seconds since the epoch."""
        now, steady = self._read(), self._clock.seconds()
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

        The time between a step forward and what the clock showed before it has not passed, so it
        makes no message older. What was said before a step back keeps the time that it was given,
        and is kept longer by as much.
        """
        oldest = self.seconds() - age
        for place in range(len(self._steps) - 1, -1, -1):
            before, after = self._steps[place]
            if oldest > after:
                break  # all from before it has expired
            oldest -= after - before
        return int(oldest * 1000)

    def watch(self) -> None:
        """Look at the clock every `LOOK` seconds, so that no step passes for the time between."""
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
    """Calls ``call`` once the time of day has reached ``when`` (seconds since the epoch), within
    `AGAIN` seconds if it gets there by a step."""

    when: float
    _call: Callable[[], None]
    _wall: WallClock
    _deadlines: TimerWheel
    _next: Deadline = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._wait()

    def cancel(self) -> None:
        """Never call. May be called at any time, and twice."""
        self._next.cancel()

    def _wait(self) -> None:
        left = self.when - self._wall.seconds()
        self._next = self._deadlines.after(min(left, AGAIN), self._look)

    def _look(self) -> None:
        if self._wall.seconds() >= self.when:
            self._call()
        else:
            self._wait()
