"""SIGTERM and Ctrl-C: the first one ends the process in order, and further ones change nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import Service

#: Those by which Twisted stops a reactor.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class FirstSignal(Service):
    """Passes the first signal on to the reactor, and none once that stops.

    A reactor that stops takes each further signal for a fault (``ReactorNotRunning``), which the
    log then has with a traceback; yet people press Ctrl-C twice, and service managers signal a
    process and its group. It is for a process that is one node alone, for its signals are the
    process's.
    """

    name = "signals"

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._stopping = False

    def startService(self) -> None:
        """Take over the handlers, once the reactor has installed its own."""
        super().startService()
        self._reactor.callWhenRunning(self._take_over)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stops)

    def _take_over(self) -> None:
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):  # else it is ignored, or ends the process at once
                signal.signal(number, partial(self._handle, handler))

    def _stops(self) -> None:
        self._stopping = True

    def _handle(self, handler: Callable[[int, Any], object], number: int, frame: Any) -> None:
        if not self._stopping:
            self._stopping = True
            handler(number, frame)
