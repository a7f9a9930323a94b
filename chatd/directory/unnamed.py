"""Streams of which it is not known whether the directory names them.

The broker may not say whether it has stored the event that gives a room its stream. If it has, or
does so later, the stream is in use, on other nodes perhaps sooner than here; if not, nobody will
ever use or delete it. So another event with the same id is appended, one that changes nothing. All
nodes fold only the first event of an id, whichever that is: once either was read, all agree.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatd.brokers.interfaces import NotStored, Stream
from chatd.directory.leftovers import Leftovers
from chatd.directory.projection import RoomEntry
from chatd.directory.unavailable import unavailable
from chatd.protocol.errors import ChatError

#: Seconds between attempts to find out.
AGAIN = 5.0
#: Streams up to which more are made: as long as the directory cannot be written, each attempt to
#: make a room may leave one.
MOST = 100


@define(eq=False)
class Unnamed:
    """Finds out whether streams were named, and hands those that were not to ``leftovers``.
    ``find`` and ``append`` are as in `chatd.directory.lives.Lives`."""

    clock: IReactorTime
    leftovers: Leftovers
    find: Callable[[str], RoomEntry | None]
    append: Callable[[dict[str, Any]], Awaitable[bool]]
    #: The ids of the events that may name them.
    _events: dict[Stream, str] = field(factory=dict, init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _asking: bool = field(default=False, init=False)
    _stopped: bool = field(default=False, init=False)

    _log = Logger()

    def check(self, room: str) -> None:
        """Raise `ChatError` unavailable, about ``room``, if no more streams should be made for the
        time being."""
        if len(self._events) >= MOST:
            why = "it does not say what has become of the rooms that were to be made before"
            raise unavailable(NotStored(why)).about(room)

    def add(self, stream: Stream, event: str) -> None:
        """Find out about ``stream``, which the event with the id ``event`` may have named."""
        self._events[stream] = event
        self._later()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _later(self) -> None:
        if self._next is None and not self._asking and not self._stopped:
            self._next = self.clock.callLater(AGAIN, self._ask)

    def _ask(self) -> None:
        self._next = None
        asking = Deferred.fromCoroutine(self._ask_all())
        asking.addErrback(lambda f: self._log.failure("Asking for unnamed streams failed", f))

    async def _ask_all(self) -> None:
        self._asking = True
        try:
            for stream, event in list(self._events.items()):
                await self._ask_for(stream, event)
        except ChatError:
            pass  # nor does it say anything of the others now
        finally:
            self._asking = False
            if self._events:
                self._later()

    async def _ask_for(self, stream: Stream, event: str) -> None:
        await self.append({"op": "delete", "room": stream.room, "epoch": "", "event": event})
        del self._events[stream]
        entry = self.find(stream.room)
        if entry is None or not entry.is_in(stream):
            self.leftovers.add(stream)
