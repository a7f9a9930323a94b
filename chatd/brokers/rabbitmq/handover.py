"""Handing a stream's records to its follower: each once, with gaps and interruptions told; many in
slices, one in a turn of the reactor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import IFollower, Stream
from chatd.brokers.rabbitmq.records import (
    SLICE,
    SLICE_BYTES,
    is_fence,
    records,
    slices,
    weight,
)
from chatd.timing.turn_queue import TurnQueue

#: What may wait, by `chatd.brokers.rabbitmq.records.weight`: about what the tail of a room holds.
#: With more, nobody waits.
WAITING_BYTES = 64 * 1024 * 1024


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


class AnotherStream(Exception):
    """What was delivered is not of the stream that was followed before, but of one that was made
    under its name since."""


class Handover:
    """Turns deliveries of ``stream`` into calls of ``follower``, those that have to wait one slice
    in each of ``turns``. An exception in it is logged.

    A room's stream has its life in its name, but the directory's has not. So what was seen of that
    must be there again where following resumes: the newest record, and after it nothing but fences,
    which are all alike.
    """

    _log = Logger()

    def __init__(self, stream: Stream, follower: IFollower, turns: TurnQueue) -> None:
        #: The newest offset delivered, fences included; None before the first delivery, -1 after
        #: `empty`.
        self.seen: int | None = None
        self._stream = stream
        self._follower = follower
        self._turns = turns
        #: What is handed over next, and what is told in between.
        self._waiting: deque[Delivery | Callable[[], None]] = deque()
        self._weight = 0
        self._told = Told.BEHIND
        #: The offset of the newest record handed over.
        self.end = -1
        #: Those who wait until all up to an offset was handed over.
        self._awaiting: dict[Deferred[None], int] = {}
        #: Whether the next batch was asked for from `seen` on, so that it shows whether that is
        #: gone.
        self._resuming = False
        #: Of a stream whose name does not tell it from another: the offset of the newest record,
        #: and a hash of its body. Without a record, that of the first fence, and None.
        self._proof: tuple[int, int | None] | None = None

    def resume(self) -> int | None:
        """The offset to follow from, None if none is known. The next batch begins there, unless
        that is gone: the broker clamps silently."""
        self._resuming = self.seen is not None
        return self.seen if self._proof is None else self._proof[0]

    def take(self, batch: Sequence[Delivery], most: int | None = None) -> None:
        """Hand over the new records in ``batch``; with ``most``, only the newest so many. Raises
        `AnotherStream` if they are not of the stream that was followed before."""
        seen = self.seen
        if seen is not None and self._proof is not None:
            self._compare(batch, seen, *self._proof)
        if self._resuming and seen is not None:
            self._resuming = False
            if batch[0].offset > seen + 1:
                self.in_order(lambda: self._tell(self._follower.truncated))
        if seen is not None and batch[0].offset <= seen:
            batch = [one for one in batch if one.offset > seen]
        if not batch:
            return
        self.seen = batch[-1].offset
        if not self._stream.room:
            self._prove(batch)
        if seen is None:
            self.end = batch[0].offset - 1
            if self.end >= 0 and not self._stream.room:
                # nothing of it may ever be removed
                self.in_order(lambda: self._tell(self._follower.truncated))
        if most is not None:
            batch = [one for one in batch if not is_fence(one)]
            if batch:
                self.end = batch[-1].offset
            batch = batch[len(batch) - min(most, len(batch)) :]
        if self._waiting or len(slices(batch)) > 1:
            self._waiting += batch
            self._weight += sum(map(weight, batch))
            self._turns.add(self._hand_on)
            while self._weight > WAITING_BYTES:
                self._hand_on()
        else:
            self._pass(batch)
        if self._awaiting:
            self.in_order(self._tell_passed)

    def passed(self, offset: int) -> Deferred[None]:
        """Fires when all deliveries up to ``offset`` were handed over. May be cancelled."""

        def leave(waiting: Deferred[None]) -> None:
            self._awaiting.pop(waiting, None)

        waiting: Deferred[None] = Deferred(leave)
        self._awaiting[waiting] = offset
        self.in_order(self._tell_passed)
        return waiting

    def _tell_passed(self) -> None:
        seen = next((one.offset for one in self._waiting if isinstance(one, Delivery)), None)
        upto = (-1 if self.seen is None else self.seen) if seen is None else seen - 1
        for waiting in [one for one, offset in self._awaiting.items() if offset <= upto]:
            del self._awaiting[waiting]
            waiting.callback(None)

    def in_order(self, call: Callable[[], None]) -> None:
        """Make ``call`` after what waits was handed over."""
        if self._waiting:
            self._waiting.append(call)
        else:
            call()

    def _hand_on(self) -> None:
        """Hand over a slice of what waits."""
        part: list[Delivery] = []
        size = 0
        while self._waiting and len(part) < SLICE:
            one = self._waiting[0]
            if isinstance(one, Delivery):
                size += weight(one)
                if part and size > SLICE_BYTES:
                    break
                part.append(one)
            elif part:
                break
            self._waiting.popleft()
            if isinstance(one, Delivery):
                self._weight -= weight(one)
            else:
                one()
        if self._waiting:
            self._turns.add(self._hand_on)
        self._pass(part)

    def _pass(self, batch: Sequence[Delivery]) -> None:
        if fresh := records(batch, self._stream):
            self.end = fresh[-1].offset
            self._tell(self._follower.records, fresh)

    def _compare(
        self, batch: Sequence[Delivery], seen: int, proved: int, known: int | None
    ) -> None:
        for one in batch:
            if one.offset > seen:
                return
            if one.offset >= proved and _proof_of(one) != (known if one.offset == proved else None):
                raise AnotherStream(self._stream.name)

    def _prove(self, batch: Sequence[Delivery]) -> None:
        for one in reversed(batch):
            proof = _proof_of(one)
            if proof is not None:
                self._proof = one.offset, proof
                return
        if self._proof is None:
            self._proof = batch[0].offset, None

    def empty(self) -> None:
        """The stream is empty, though no fence shows it: what comes is all there is."""
        self.seen = -1

    def level(self) -> None:
        """Tell the follower, once, that it has caught up."""
        self.in_order(self._level)

    def _level(self) -> None:
        if self._told in (Told.BEHIND, Told.REFRESHING):
            self._told = Told.LEVEL
            self._tell(self._follower.caught_up, self.end)

    def interrupted(self) -> None:
        """Tell the follower, once, that the broker is away, also if it knows of a `refresh`."""
        self.in_order(self._interrupted)

    def _interrupted(self) -> None:
        if self._told in (Told.LEVEL, Told.REFRESHING):
            self._told = Told.BEHIND
            self._tell(self._follower.interrupted)

    def refresh(self) -> None:
        """Tell the follower that the stream is read anew."""
        self.in_order(self._refresh)

    def _refresh(self) -> None:
        if self._told is Told.LEVEL:
            self._told = Told.REFRESHING
            self._tell(self._follower.interrupted)

    def gone(self) -> None:
        """Tell the follower that the stream is gone, and with it what waits."""
        self._waiting.clear()
        self._weight = 0
        self._tell(self._follower.gone)

    def stop(self) -> None:
        """Tell nothing more."""
        self._waiting.clear()
        self._weight = 0
        self._told = Told.ENDED
        for waiting in list(self._awaiting):
            waiting.cancel()

    def _tell(self, call: Callable[..., Any], *args: object) -> None:
        if self._told is Told.ENDED:
            return
        try:
            call(*args)
        except Exception:
            self._log.failure("A follower of {stream} failed", stream=self._stream.name)


def _proof_of(delivery: Delivery) -> int | None:
    return None if is_fence(delivery) else hash(delivery.body)
