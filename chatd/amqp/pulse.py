"""Liveness of a connection (heartbeats), and backpressure from it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from zope.interface import implementer

HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"


class Heartbeats:
    """Heartbeats in both directions (https://www.rabbitmq.com/heartbeats.html) with one timer.

    Set ``sent`` and ``received`` whenever bytes are. ``write`` sends a heartbeat; ``dead`` is
    called once, after two intervals without a byte from the server.
    """

    def __init__(
        self, clock: IReactorTime, write: Callable[[bytes], object], dead: Callable[[], None]
    ) -> None:
        self.sent = False
        self.received = False
        self._silent = 0
        self._write = write
        self._dead = dead
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = clock

    def start(self, interval: float) -> None:
        """Begin, with an ``interval`` in seconds."""
        self._ticking.start(interval / 2, now=False)

    def stop(self) -> None:
        """Stop the timer. May be called twice."""
        if self._ticking.running:
            self._ticking.stop()

    def _tick(self) -> None:
        self._silent = 0 if self.received else self._silent + 1
        if self._silent >= 4:
            self.stop()
            self._dead()
        elif not self.sent:
            self._write(HEARTBEAT)
        self.sent = self.received = False


@implementer(IPushProducer)
class Congestion:
    """A push producer that notes whether the transport's buffer is ``full``."""

    def __init__(self) -> None:
        self.full = False

    def pauseProducing(self) -> None:
        self.full = True

    def resumeProducing(self) -> None:
        self.full = False

    def stopProducing(self) -> None:
        self.full = True
