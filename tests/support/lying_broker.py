"""A broker whose word is worth as little as RabbitMQ's while a stream changes leaders."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from twisted.internet.defer import Deferred, succeed

from chatd.brokers.interfaces import Stream, Unavailable
from chatd.brokers.memory.broker import MemoryBroker


class Lie(Enum):
    """What is done with a record."""

    NONE = auto()
    #: Confirmed, and dropped.
    CONFIRM_ONLY = auto()
    #: Confirmed, and stored `LATE` seconds later.
    STORE_LATE = auto()
    #: Stored; the confirm never comes.
    STORE_ONLY = auto()
    STORE_TWICE = auto()
    #: Neither.
    DROP = auto()
    #: Not stored, and said to be so.
    REFUSE = auto()


#: Seconds.
LATE = 2.0


class LyingBroker(MemoryBroker):
    """In memory, but not `exact`. ``lie(stream, number, channel)`` says what is done with the
    ``number``-th append of all, on the ``channel``-th way (one more after each `distrust`)."""

    exact = False

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.lie: Callable[[Stream, int, int], Lie] = lambda stream, number, channel: Lie.NONE
        self.appended: list[bytes] = []
        self.distrusted: list[float] = []
        #: Whether there is a lane that keeps the order, another one after each `distrust`; and
        #: whether it was to be made ready.
        self.keeps_order = False
        self.wanted = False
        self._way = object()

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        lie = self.lie(stream, len(self.appended), len(self.distrusted))
        self.appended.append(body)
        never: Deferred[None] = Deferred()
        match lie:
            case Lie.CONFIRM_ONLY:
                return succeed(None)
            case Lie.STORE_LATE:
                self._clock.callLater(LATE, self.store, stream, body, time)
                return succeed(None)
            case Lie.STORE_ONLY:
                self.store(stream, body, time)
                return never
            case Lie.DROP:
                return never
            case Lie.REFUSE:
                never.errback(Unavailable("it was refused"))
                return never
            case Lie.STORE_TWICE:
                self.store(stream, body, time)
        return super().append(stream, body, message_id, time)

    def lane(self, stream: Stream, more: bool) -> object | None:
        self.wanted |= more
        return self._way if self.keeps_order else None

    def distrust(self, stream: Stream, since: float) -> Deferred[None]:
        self.distrusted.append(since)
        self._way = object()
        return succeed(None)
