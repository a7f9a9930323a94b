"""Making a reactor's delayed calls independent of the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

#: Seconds between two readings from which on the process has stood still in between. One that runs
#: reads its clock each second, at least (`chatd.timing.wall.LOOK`).
STOOD_STILL = 1.5


def steady(reactor: Any) -> Any:
    """Make ``reactor`` use a monotonic clock, and return it.

    Twisted's reactors use ``time.time`` (`twisted.internet.base.ReactorBase.seconds`), so setting
    the time of day back by an hour delays all calls by an hour. The monotonic clock continues from
    the present time of day, so that calls already waiting stay on time.
    """
    if not isinstance(reactor.seconds, _Steady):
        reactor.seconds = _Steady(reactor.seconds())
    return reactor


def _elapsed() -> Callable[[], float]:
    """A clock that cannot be set. It includes the time for which the machine was suspended, where
    the system has such a clock (clock_gettime(2), CLOCK_BOOTTIME)."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boot is None else partial(time.clock_gettime, boot)


class _Steady:
    """Seconds since ``begin``, plus ``begin``; monotonic."""

    def __init__(self, begin: float) -> None:
        #: How often the process has stood still, and from when to when it did the last time.
        self.standstills, self.stood = 0, (begin, begin)
        self._elapsed = _elapsed()
        self._last = self._elapsed()
        self._base = begin - self._last

    def __call__(self) -> float:
        elapsed = self._elapsed()
        if not 0.0 <= elapsed - self._last <= STOOD_STILL:
            self._leapt(elapsed)
        self._last = elapsed
        return self._base + elapsed

    def _leapt(self, elapsed: float) -> None:
        """``elapsed`` is not what follows on the last reading."""
        if elapsed < self._last:
            # never on hardware; but in a virtual machine that was migrated, or under faketime
            self._base += self._last - elapsed
        else:
            self.standstills += 1
            self.stood = self._base + self._last, self._base + elapsed
