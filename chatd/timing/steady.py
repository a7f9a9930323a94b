"""A reactor whose waiting does not depend on the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def steady(reactor: Any) -> Any:
    """Make ``reactor`` wait by a monotonic clock; the reactor itself.

    Twisted's reactors count by ``time.time``, so that a clock set back by an hour puts off by an
    hour all that was to happen (`twisted.internet.base.ReactorBase.seconds`). The clock goes on
    from the time of day as it is now: what waits already falls due when it should.
    """
    if not isinstance(reactor.seconds, _Steady):
        reactor.seconds = _Steady(reactor.seconds())
    return reactor


def _elapsed() -> Callable[[], float]:
    """A clock that nobody can set. Where it can be told, time in which the machine was suspended
    counts, for it has passed (clock_gettime(2))."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boot is None else lambda: time.clock_gettime(boot)


class _Steady:
    """Seconds since the epoch at the beginning, and as many more as have passed."""

    def __init__(self, begin: float) -> None:
        self._elapsed = _elapsed()
        self._last = self._elapsed()
        self._base = begin - self._last

    def __call__(self) -> float:
        elapsed = self._elapsed()
        if elapsed < self._last:
            # not on hardware; but a guest that was moved, or is lied to, must not stand still
            self._base += self._last - elapsed
        self._last = elapsed
        return self._base + elapsed
