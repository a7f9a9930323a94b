"""Application events for other programs: rooms and their members, made and removed."""

from __future__ import annotations

from collections import deque

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatd.brokers.interfaces import IBroker
from chatd.protocol.json import dump

#: Events that wait until the broker takes them, at most: the newest.
WAITING = 1000
#: Seconds between attempts.
AGAIN = 1.0


@define(eq=False)
class DirectoryEvents:
    """Publishes ``created``, ``deleted``, ``member_added`` and ``member_removed``, in their order.
    The broker may be too busy for one that follows on a change which it has just stored."""

    broker: IBroker
    clock: IReactorTime
    _waiting: deque[tuple[str, str, bytes]] = field(
        factory=lambda: deque(maxlen=WAITING), init=False
    )
    _next: IDelayedCall | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def tell(self, event: str, room: str, **more: object) -> None:
        """``event`` has happened in ``room``; ``more`` is what its body also has."""
        self._waiting.append((event, room, dump({"event": event, "room": room, **more})))
        if self._next is None:
            self._send()

    def stop(self) -> None:
        """Try no more."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _send(self) -> None:
        self._next = None
        while self._waiting and self.broker.announce(*self._waiting[0]):
            self._waiting.popleft()
        if self._waiting and not self._stopped:
            self._next = self.clock.callLater(AGAIN, self._send)
