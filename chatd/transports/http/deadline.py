"""The deadline of a connection, and what its client has read in the meantime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

from chatd.net.tcp import acknowledged
from chatd.timing.nothing import nothing
from chatd.timing.timer_wheel import Deadline, TimerWheel


@define(eq=False)
class ReadingDeadline:
    """One deadline at a time for ``transport``; ``late`` is called when it has passed."""

    transport: Any
    _deadlines: TimerWheel
    _late: Callable[[], None]
    _due: Deadline | None = field(default=None, init=False)
    _acknowledged: int = field(default=0, init=False)

    @property
    def active(self) -> bool:
        """Whether a deadline is set, and has not passed."""
        return self._due is not None and self._due.active

    def set(self, seconds: float) -> None:
        """Replace the deadline by one in ``seconds``."""
        self._acknowledged = acknowledged(self.transport)
        if self._due is not None and self._due.active:
            self._due.move(self._deadlines.clock.seconds() + seconds)
        else:
            self._due = self._deadlines.after(seconds, self._late)

    def cancel(self) -> None:
        """Have no deadline."""
        if self._due is not None:
            self._due.cancel()
        self._due = None

    def stop(self) -> None:
        """Have no deadline any more: the connection is gone."""
        self.cancel()
        self._late = nothing

    def read(self) -> int:
        """The number of bytes that the client has acknowledged since the deadline was set."""
        return acknowledged(self.transport) - self._acknowledged
