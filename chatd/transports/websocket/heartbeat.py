"""Liveness of a WebSocket connection: pings, and an end to connections that do not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatd.net.tcp import silent
from chatd.timing.timer_wheel import Deadline, TimerWheel
from chatd.transports.writer import Writer

#: Seconds from one ping to the next, and until its pong must have come.
PING_EVERY = 25.0
PONG_WITHIN = 20.0


class Heartbeat:
    """Pings one connection. ``dead`` is called once, when the client no longer answers.

    A client that does not read cannot answer either; it is slow, not gone. While its transport is
    not writable, TCP's own acknowledgements decide; so they do where chatd has not read all the
    time since the ping: the pong may have come, and lie behind what has to wait for its turn, or
    wait to be read by a process that was stopped meanwhile.
    """

    def __init__(
        self,
        deadlines: TimerWheel,
        transport: Any,
        outlet: Writer,
        ping: Callable[[], None],
        dead: Callable[[], None],
    ) -> None:
        self._deadlines = deadlines
        self._transport = transport
        self._outlet = outlet
        self._ping = ping
        self._dead = dead
        #: What `Writer.switches` was at the last ping; -1 if chatd was not reading.
        self._switches = -1
        self._next: Deadline = deadlines.after(PING_EVERY, self._beat)
        #: When the ping that was not answered yet was due; None while there is none.
        self._pinged: float | None = None

    def pong(self) -> None:
        """The client answered, or says unasked that it lives, which changes nothing."""
        if self._pinged is None:
            return
        self._next.cancel()
        self._next = self._deadlines.again(self._pinged, PING_EVERY, self._beat)
        self._pinged = None

    def stop(self) -> None:
        """The connection is closed."""
        self._next.cancel()

    def _beat(self) -> None:
        outlet = self._outlet
        if outlet.writable:
            self._switches = -1 if outlet.stops else outlet.switches
            self._pinged = self._next.when
            self._next = self._deadlines.after(PONG_WITHIN, self._missed)
            self._ping()
        else:
            self._missed()

    def _missed(self) -> None:
        read = self._outlet.switches == self._switches and not self._next.stood_still
        if (self._outlet.writable and read) or silent(self._transport):
            self._dead()
        else:
            self._next = self._deadlines.after(PONG_WITHIN, self._beat)
