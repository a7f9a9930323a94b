"""The fan-out of a broker whose only node is this process."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger


class LocalFanout:
    """`IBroker.broadcast` and `IBroker.listen` within one process. Payloads are delivered in the
    next turn of the reactor."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._handlers: list[Callable[[bytes], None]] = []

    def reconnect(self, why: str, again: bool) -> None:
        """Does nothing: there is no connection."""

    def listen(self, handler: Callable[[bytes], None]) -> None:
        self._handlers.append(handler)

    def broadcast(self, payload: bytes) -> None:
        self._clock.callLater(0, self._deliver, payload)

    def _deliver(self, payload: bytes) -> None:
        for handler in list(self._handlers):
            try:
                handler(payload)
            except Exception:
                self._log.failure("a listener failed")
