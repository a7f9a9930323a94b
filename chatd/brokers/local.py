"""What brokers within this process have in common: nothing is lost on the way to them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatd.brokers.interfaces import Stream


class LocalBroker:
    """What an `IBroker` that is `exact` does alike wherever its streams are. Its fan-out is within
    the process: payloads are delivered in the next turn of the reactor."""

    exact = True
    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._handlers: list[Callable[[bytes], None]] = []

    def lane(self, stream: Stream, more: bool) -> object:
        return self

    def distrust(self, stream: Stream, since: float) -> Deferred[None]:
        return succeed(None)

    def trust(self, stream: Stream) -> None:
        """Does nothing: nothing is ever missing."""

    def sync(self, stream: Stream) -> Deferred[None]:
        return succeed(None)

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
