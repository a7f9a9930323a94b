"""Whether the connection lives (heartbeats) and whether it takes more (congestion)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from zope.interface import implementer

HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"


class Heartbeats:
    """Heartbeats both ways (https://www.rabbitmq.com/heartbeats.html), at the price of one timer,
    where txAMQP stops and starts two for every frame.

    Set ``sent`` and ``received`` when something was. ``dead`` is called once after two intervals
    of silence.
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
        """Begin; ``interval`` is in seconds."""
        self._ticking.start(interval / 2, now=False)

    def stop(self) -> None:
        """End."""
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
    """Registered with a transport, knows whether its buffer is ``full``."""

    def __init__(self) -> None:
        self.full = False

    def pauseProducing(self) -> None:
        self.full = True

    def resumeProducing(self) -> None:
        self.full = False

    def stopProducing(self) -> None:
        self.full = True
