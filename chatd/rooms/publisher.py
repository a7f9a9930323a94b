"""Publishing to one room: each id once, each sender's messages in their order."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NoReturn

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, NotStored, Stream
from chatd.brokers.read_back import Counts, ReadBack
from chatd.protocol.messages import Content, content_key
from chatd.rooms.deduplication import DeduplicationWindow
from chatd.timing.singleflight import SingleFlight
from chatd.timing.wall import WallClock

#: Publishes under way in one room.
PENDING = 10_000
#: Seconds after which one is given up: told `unavailable`.
PATIENCE = 10.0


class RoomPublisher:
    """The ids that a room knows, and those under way.

    A message counts as published when our own follower has brought it: who is told so can read it
    on this node at once. Nothing else acknowledges it (see `chatd.brokers.read_back`).

    A sender's next message is not sent before the last one has been brought or given up, where the
    broker may lose one and keep the next (`IBroker.exact`). So what is sent again is never
    overtaken. Different senders do not wait for each other.
    """

    def __init__(
        self,
        broker: IBroker,
        clock: IReactorTime,
        wall: WallClock,
        counts: Counts,
        refresh: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._wall = wall
        self._window = DeduplicationWindow()
        self._read_back: ReadBack[int, None] = ReadBack(broker, clock, counts, refresh)
        self._under_way: SingleFlight[int, bool] = SingleFlight()
        self._lines: dict[Hashable, DeferredLock] = {}
        self._pending = 0

    def __len__(self) -> int:
        """How many are under way."""
        return self._pending

    def repeats(self, key: int | None) -> bool:
        """The stream brought a record (None: no message); whether it repeats an earlier one."""
        repeated = self._window.repeats(key)
        if key is not None:
            self._read_back.brought(key, None)
        return repeated

    def caught_up(self) -> None:
        """The stream brought all there is."""
        self._read_back.caught_up()

    def forget(self) -> None:
        """Know no ids any more: what the stream brings next is its beginning. What is under way
        may be lost with the stream."""
        self._window = DeduplicationWindow()
        self._read_back.lost()

    def publish(
        self, stream: Stream, content: Content, sender: Hashable | None = None
    ) -> Deferred[bool]:
        """Store a message; what one ``sender`` publishes stays in order. Fires with True when the
        stream has brought it, with False if it had before.

        Fails as `chatd.brokers.read_back.ReadBack.append` does, after `PATIENCE` at the latest.
        """
        key = content_key(content.user, content.id)
        if not content.fresh and key in self._window:
            return succeed(False)
        return self._under_way.run(key, lambda: self._publish(stream, key, content, sender))

    async def _publish(
        self, stream: Stream, key: int, content: Content, sender: Hashable | None
    ) -> bool:
        if self._pending >= PENDING:
            raise NotStored("too many messages to the room are under way")
        self._pending += 1
        try:
            until = self._clock.seconds() + PATIENCE
            if sender is None or self._broker.exact:
                await self._append(stream, key, content, until)
            else:
                await self._append_in_line(sender, stream, key, content, until)
        finally:
            self._pending -= 1
        return True

    async def _append(self, stream: Stream, key: int, content: Content, until: float) -> None:
        time = self._wall.milliseconds()
        body = content.record(time)
        await self._read_back.append(stream, key, body, content.id, time, until)

    async def _append_in_line(
        self, sender: Hashable, stream: Stream, key: int, content: Content, until: float
    ) -> None:
        """Behind what ``sender`` published before; `NotStored` if its turn does not come."""
        line = self._lines.setdefault(sender, DeferredLock())
        turn = line.acquire()
        if not turn.called:
            turn.addTimeout(until - self._clock.seconds(), self._clock, _too_late)
        await turn
        try:
            if self._clock.seconds() >= until:
                _too_late()
            await self._append(stream, key, content, until)
        finally:
            line.release()
            if not line.locked:
                self._lines.pop(sender, None)


def _too_late(*_: object) -> NoReturn:
    raise NotStored("the messages before it are still under way")
