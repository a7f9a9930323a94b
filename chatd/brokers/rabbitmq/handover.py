"""Handing a stream's records to its follower: each once, with gaps and interruptions told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from twisted.logger import Logger

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import IFollower, Stream
from chatd.brokers.rabbitmq.records import records


class Told(Enum):
    """What the follower was told last about where it stands."""

    #: It is not at the head.
    BEHIND = auto()
    #: It is not, because it is being read anew from a broker that is there.
    REFRESHING = auto()
    #: It has caught up.
    LEVEL = auto()
    #: Following has ended; nothing more is told.
    ENDED = auto()


class Handover:
    """Turns deliveries of ``stream`` into calls of ``follower``. An exception in it is logged."""

    _log = Logger()

    def __init__(self, stream: Stream, follower: IFollower) -> None:
        #: The newest offset delivered, fences included; None before the first delivery.
        self.seen: int | None = None
        self._stream = stream
        self._follower = follower
        self._told = Told.BEHIND
        #: The offset of the newest record.
        self._end = -1
        #: Whether the next batch was asked for from `seen` on, so that it shows whether that is
        #: gone.
        self._resuming = False

    def resume(self) -> None:
        """The next batch begins with the record at `seen`, unless that is gone: the broker clamps
        silently."""
        self._resuming = True

    def take(self, batch: Sequence[Delivery], most: int | None = None) -> None:
        """Hand over the new records in ``batch``; with ``most``, only the newest so many."""
        seen = self.seen
        if self._resuming and seen is not None:
            self._resuming = False
            if batch[0].offset > seen + 1:
                self._tell(self._follower.truncated)
        if seen is not None and batch[0].offset <= seen:
            batch = [one for one in batch if one.offset > seen]
        if not batch:
            return
        fresh = records(batch, self._stream)
        self.seen = batch[-1].offset
        if fresh:
            self._end = fresh[-1].offset
        elif seen is None:
            self._end = batch[0].offset - 1
        if most is not None:
            fresh = fresh[len(fresh) - min(most, len(fresh)) :]
        if fresh:
            self._tell(self._follower.records, fresh)

    def level(self) -> None:
        """Tell the follower, once, that it has caught up."""
        if self._told in (Told.BEHIND, Told.REFRESHING):
            self._told = Told.LEVEL
            self._tell(self._follower.caught_up, self._end)

    def interrupted(self) -> None:
        """Tell the follower, once, that the broker is away, also if it knows of a `refresh`."""
        if self._told in (Told.LEVEL, Told.REFRESHING):
            self._told = Told.BEHIND
            self._tell(self._follower.interrupted)

    def refresh(self) -> None:
        """Tell the follower that the stream is read anew."""
        if self._told is Told.LEVEL:
            self._told = Told.REFRESHING
            self._tell(self._follower.interrupted)

    def gone(self) -> None:
        """Tell the follower that the stream is gone."""
        self._tell(self._follower.gone)

    def stop(self) -> None:
        """Tell nothing more."""
        self._told = Told.ENDED

    def _tell(self, call: Callable[..., Any], *args: object) -> None:
        if self._told is Told.ENDED:
            return
        try:
            call(*args)
        except Exception:
            self._log.failure("A follower of {stream} failed", stream=self._stream.name)
