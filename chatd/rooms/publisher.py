"""Publishing to one room: each id is stored once, each sender's messages in order."""

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

#: Concurrent publishes to one room.
PENDING = 10_000
#: Seconds after which a publish fails.
PATIENCE = 10.0


class RoomPublisher:
    """Publishes to one room, and knows which ids it has.

    A message is published when this node's own follower has read it back (see
    `chatd.brokers.read_back`), so the sender can read it here at once.

    If the broker may lose one message and store the next (see `IBroker.exact`), a sender's next
    message is sent when the previous one is published or has failed, so that a message that must be
    sent again is not overtaken. Different senders do not wait for each other.

    ``age`` is the retention in seconds, after which ids are forgotten. ``refresh`` makes the
    follower read again; see `IFollowing.refresh`.
    """

    def __init__(
        self,
        broker: IBroker,
        clock: IReactorTime,
        wall: WallClock,
        counts: Counts,
        age: int,
        refresh: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._wall = wall
        self._age = age
        self._window = self._new_window()
        self._read_back: ReadBack[int, None] = ReadBack(broker, clock, counts, refresh)
        self._under_way: SingleFlight[int, bool] = SingleFlight()
        self._lines: dict[Hashable, DeferredLock] = {}
        self._pending = 0

    def __len__(self) -> int:
        """The number of publishes under way."""
        return self._pending

    def _new_window(self) -> DeduplicationWindow:
        return DeduplicationWindow(self._age * 1000)

    def repeats(self, key: int | None, time: int) -> bool:
        """The follower read a record with this key (None: it is no message), shown with ``time``.
        Returns whether it repeats an earlier one."""
        repeated = self._window.repeats(key, time)
        if key is not None:
            self._read_back.brought(key, None)
        return repeated

    def caught_up(self) -> None:
        """The follower has read everything in the stream."""
        self._read_back.caught_up()

    def forget(self) -> None:
        """Forget all ids, because following begins anew. Publishes under way fail with
        `Unavailable`: they may be lost with the stream."""
        self._window = self._new_window()
        self._read_back.lost()

    def publish(
        self, stream: Stream, content: Content, sender: Hashable | None = None
    ) -> Deferred[bool]:
        """Store a message. What one ``sender`` publishes stays in order. Fires with True when the
        message has been read back, with False if the room has it already.

        Fails as `chatd.brokers.read_back.ReadBack.append` does, after `PATIENCE` at the latest.
        """
        key = content_key(content.user, content.id)
        if not content.fresh and self._window.knows(key, self._wall.oldest(self._age)):
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
        """Append after all that ``sender`` published before; `NotStored` if that takes longer than
        ``until``."""
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
