"""Keeping followed streams bound to their exchange.

Other programs can unbind a room's stream, or delete the exchange with all its bindings, and
RabbitMQ does not tell. So a stream is bound when a node begins to follow it, and again after each
connection: one stream at a time, so that other work is not delayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from chatd.brokers.interfaces import NoSuchStream, Stream, Unavailable


@define(eq=False)
class Bindings:
    """Binds streams by calling ``bind``, one at a time."""

    bind: Callable[[Stream], Deferred[None]]
    _bound: set[Stream] = field(factory=set, init=False)
    _waiting: dict[Stream, None] = field(factory=dict, init=False)
    _working: bool = field(default=False, init=False)

    _log = Logger()

    def known(self, stream: Stream) -> None:
        """Note that ``stream`` was bound, until `forget`."""
        self._bound.add(stream)

    def forget(self, stream: Stream) -> None:
        """Note that ``stream`` is no longer followed, or is deleted."""
        self._bound.discard(stream)
        self._waiting.pop(stream, None)

    def restore(self, streams: Iterable[Stream]) -> None:
        """Bind all ``streams``, also those known to be bound."""
        self._bound.clear()
        for stream in streams:
            self.ensure(stream)

    def ensure(self, stream: Stream) -> None:
        """Bind ``stream`` soon, unless it is known to be bound."""
        if not stream.room or stream in self._bound:
            return
        self._waiting[stream] = None
        if not self._working:
            self._working = True
            work = Deferred.fromCoroutine(self._work())
            work.addErrback(lambda f: self._log.failure("Binding streams failed", f))

    async def _work(self) -> None:
        try:
            while self._waiting:
                stream = next(iter(self._waiting))
                del self._waiting[stream]
                self._bound.add(stream)  # now: it may be forgotten meanwhile
                try:
                    await self.bind(stream)
                except (Unavailable, NoSuchStream):
                    # tried again after the next connection, and by publishers
                    self._bound.discard(stream)
        finally:
            self._working = False
