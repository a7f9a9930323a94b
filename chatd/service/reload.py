"""SIGHUP: read keys and certificates again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger


class Reloader(Service):
    """Calls each of ``sources`` on SIGHUP. A source reads its files again and returns a line for
    each file that it cannot use; of those the old content stays in use."""

    name = "reload"
    _log = Logger()

    def __init__(self, reactor: Any, sources: Iterable[Callable[[], Iterable[str]]]) -> None:
        self._reactor = reactor
        self._sources = list(sources)

    def startService(self) -> None:
        """Install the signal handler."""
        super().startService()
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))

    def reload(self) -> None:
        """Call all sources, and log what they return."""
        for source in self._sources:
            try:
                for fault in source():
                    self._log.error("Not reloaded: {fault}", fault=fault)
            except Exception:
                # what the others would revoke must not stay valid for it
                self._log.failure("A part of the reload failed; the others are done")
        self._log.info("Read keys and certificates again, and all settings that may change.")
