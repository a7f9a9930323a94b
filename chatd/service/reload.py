"""SIGHUP: read keys and certificates again. SIGUSR1: open the logs anew."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

Source = Callable[[], Iterable[str]]


class Reloader(Service):
    """Calls each of ``sources`` on SIGHUP, and each of ``logs`` on SIGUSR1, which programs that
    rotate logs send to nginx and to plain twistd, and which would end the process.

    A source reads its files again and returns a line for each file that it cannot use; of those the
    old content stays in use."""

    name = "reload"
    _log = Logger()

    def __init__(self, reactor: Any, sources: Iterable[Source], logs: Iterable[Source]) -> None:
        self._reactor = reactor
        self._sources, self._logs = list(sources), list(logs)

    def startService(self) -> None:
        """Install the signal handlers."""
        super().startService()
        for number, called in ((signal.SIGHUP, self.reload), (signal.SIGUSR1, self.reopen)):
            signal.signal(number, partial(self._handle, called))

    def _handle(self, called: Callable[[], None], number: int, frame: object) -> None:
        self._reactor.callFromThread(called)

    def reload(self) -> None:
        """Call all sources, and log what they return."""
        if self._call(self._sources):
            self._log.warn("Read keys and certificates again, but for what the lines above name.")
        else:
            self._log.info("Read keys and certificates again, and all settings that may change.")

    def reopen(self) -> None:
        """Call the logs, and log what they return."""
        if not self._call(self._logs):
            self._log.info("Opened the logs anew.")

    def _call(self, sources: Iterable[Source]) -> int:
        """How many faults there were."""
        faults = 0
        for source in sources:
            try:
                for fault in source():
                    faults += 1
                    self._log.error("Not reloaded: {fault}", fault=fault)
            except Exception:
                faults += 1
                # what the others would revoke must not stay valid for it
                self._log.failure("A part of the reload failed; the others are done")
        return faults
