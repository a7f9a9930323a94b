"""Reading a range of a stream, finding its end, and finding a time in it.

Each uses a consumer on a channel of its own, which is ended as soon as the answer is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatd.amqp.channel import Channel, Reason
from chatd.amqp.client import Client
from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import Lagging, NoSuchStream, Record, Stream, Unavailable
from chatd.brokers.rabbitmq.barriers import LAGS
from chatd.brokers.rabbitmq.channel_pool import ChannelPool
from chatd.brokers.rabbitmq.consumer import PREFETCH, StreamConsumer
from chatd.brokers.rabbitmq.publisher import StreamPublisher
from chatd.brokers.rabbitmq.queues import is_missing
from chatd.brokers.rabbitmq.records import is_fence, records, slices
from chatd.protocol.errors import ChatError
from chatd.protocol.json import load_object
from chatd.protocol.timestamps import parse_time
from chatd.timing.turn_queue import TurnQueue
from chatd.timing.wall import WallClock

#: Deliveries under way to one that reads a range. All share a connection, where what is under way
#: delays everything else: a megabyte of large messages.
LEAST, MOST = 4, 64
#: Seconds by which a record's time may be ahead of that at which it was stored: by another program,
#: or a node whose clock is fast (`chatd.rooms.dating`); the records at most that are read for that;
#: and the seconds looked at in a room that has more.
AHEAD, AHEAD_RECORDS, SKEW = 3600, PREFETCH, 5


class _Reader:
    """Gathers deliveries from ``start`` until ``stop`` (an offset) or the end of the stream, then
    fires ``done``.

    Without ``fence``, nothing may be gathered: the stream ends before ``start``, or was slow.
    """

    def __init__(
        self,
        client: Client,
        stream: Stream,
        start: str | int | datetime,
        stop: int | None = None,
        fence: StreamPublisher | None = None,
    ) -> None:
        self.gathered: list[Delivery] = []
        self.done: Deferred[None] = Deferred()
        self._stream = stream
        self._stop = stop
        self._fence = fence
        self._prefetch = PREFETCH
        if stop is not None and isinstance(start, int):
            self._prefetch = max(LEAST, min(MOST, stop - start))
        self._consumer = StreamConsumer(client, stream.name, start, self, self._prefetch)

    async def run(self, channel: Channel) -> list[Delivery]:
        await channel.basic_qos(prefetch_count=self._prefetch)
        channel.on_close = self._channel_closed  # not before: nobody waits for `done` yet
        self._consumer.begin(channel)
        try:
            await self.done
        finally:
            self._consumer.close()
            channel.on_close = None
        return self.gathered

    def delivered(self, batch: Sequence[Delivery]) -> None:
        self.gathered += batch
        if self._stop is not None and batch[-1].offset >= self._stop - 1:
            self._end()

    def caught_up(self) -> None:
        self._end()

    def silent(self) -> None:
        if self._fence is None:
            self._end()
        else:
            fencing = self._fence.fence(
                self._stream, lambda: bool(self.gathered) or self.done.called
            )
            Deferred.fromCoroutine(fencing).addCallbacks(self._fenced, self.fail)

    def _fenced(self, came: bool) -> None:
        if not came:
            self.fail(Unavailable("the stream does not bring what it stored"))

    def detached(self, why: str) -> None:
        self.fail(NoSuchStream(self._stream.name))

    def _channel_closed(self, reason: Reason) -> None:
        missing = is_missing(reason)
        self.fail(NoSuchStream(self._stream.name) if missing else Unavailable(str(reason)))

    def _end(self) -> None:
        if not self.done.called:
            self.done.callback(None)

    def fail(self, why: Exception | Failure) -> None:
        """Give up, for the reason ``why``."""
        if not self.done.called:
            self.done.errback(why)


class StreamReader:
    """Reads streams over the channels of ``pool``; ``publishing`` appends fences. What was read is
    converted a slice in each of ``turns``."""

    def __init__(
        self, wall: WallClock, pool: ChannelPool, publishing: StreamPublisher, turns: TurnQueue
    ) -> None:
        self._wall = wall
        self._pool = pool
        self._publishing = publishing
        self._turns = turns

    def read(
        self, stream: Stream, start: int, stop: int, known: int = -1
    ) -> Deferred[Sequence[Record]]:
        """As `IBroker.read`. There is something at the offset ``known``: where that does not come,
        more may be missing, which must not be taken for all there is."""

        async def task(client: Client, channel: Channel) -> list[Delivery]:
            reader = _Reader(client, stream, max(0, start), stop)
            gathered = await reader.run(channel)
            if not gathered and await self._last(client, channel, stream) >= start:
                # records were appended while it was read
                reader = _Reader(client, stream, max(0, start), stop, self._publishing)
                gathered = await reader.run(channel)
            if (gathered[-1].offset if gathered else -1) < min(known, stop - 1):
                raise Lagging(LAGS)
            return [one for one in gathered if start <= one.offset < stop]

        async def read() -> Sequence[Record]:
            return await self._converted(await self._pool.run(task), stream)

        return Deferred.fromCoroutine(read())

    async def _converted(self, gathered: Sequence[Delivery], stream: Stream) -> list[Record]:
        converted: list[Record] = []
        parts = slices(gathered)
        for part in parts:
            if len(parts) > 1:
                await self._turns.wait()
            converted += records(part, stream)
        return converted

    def end(self, stream: Stream) -> Deferred[int]:
        """As `IBroker.end`."""
        return self._pool.run(lambda client, channel: self._last(client, channel, stream))

    def newest(self, stream: Stream) -> Deferred[int]:
        """The offset of the last record or fence here; -1 if there is none, or the broker is slow
        to deliver."""

        async def task(client: Client, channel: Channel) -> int:
            gathered = await _Reader(client, stream, "last").run(channel)
            return gathered[-1].offset if gathered else -1

        return self._pool.run(task)

    def place_of_barrier(self, stream: Stream) -> Deferred[int]:
        """Append a barrier, and wait until it comes; its offset."""

        async def task(client: Client, channel: Channel) -> int:
            reader = _BarrierReader(
                client, stream, partial(self._publishing.append_barrier, stream)
            )
            return (await reader.run(channel))[0].offset

        return self._pool.run(task)

    def locate(self, stream: Stream, time: int) -> Deferred[int]:
        """As `IBroker.locate`. RabbitMQ finds a chunk by the time when it was stored; reading on
        from there finds the record."""

        async def task(client: Client, channel: Channel) -> int:
            finder = _Finder(client, stream, time, self._now(), AHEAD, AHEAD_RECORDS)
            gathered = await finder.run(channel)
            if finder.given_up:
                finder = _Finder(client, stream, time, self._now(), SKEW)
                gathered = await finder.run(channel)
            if finder.found is not None:
                return finder.found
            if gathered:
                return _newest(gathered) + 1
            return await self._last(client, channel, stream) + 1

        return self._pool.run(task)

    async def _last(self, client: Client, channel: Channel, stream: Stream) -> int:
        """The offset of the newest record, -1 if there never was one."""
        gathered = await _Reader(client, stream, "last", None, self._publishing).run(channel)
        return _newest(gathered)

    def _now(self) -> int:
        return self._wall.milliseconds()


class _BarrierReader(_Reader):
    """Has a barrier appended by ``append(name)`` once it would not miss it, and gathers that."""

    def __init__(
        self, client: Client, stream: Stream, append: Callable[[str], Deferred[None]]
    ) -> None:
        super().__init__(client, stream, "last")
        self._append = append
        self._name = ""

    def delivered(self, batch: Sequence[Delivery]) -> None:
        if self._name:
            name = self._name.encode()
            self.gathered += [one for one in batch if not one.body and name in one.raw]
        if self.gathered:
            self._end()

    def caught_up(self) -> None:
        self.silent()

    def silent(self) -> None:
        if not self._name:
            self._name = token_hex(16)
            self._append(self._name).addErrback(self.fail)


class _Finder(_Reader):
    """Reads what was stored since ``seconds`` before ``time`` (milliseconds), until a record at or
    after that is found, or gives up after ``most`` records."""

    def __init__(
        self,
        client: Client,
        stream: Stream,
        time: int,
        now: int,
        seconds: int,
        most: float = float("inf"),
    ) -> None:
        super().__init__(
            client, stream, datetime.fromtimestamp(max(0, time // 1000 - seconds), UTC)
        )
        self.found: int | None = None
        self.given_up = False
        self._left = most
        self._first: int | None = None
        self._time = time
        self._now = now

    def delivered(self, batch: Sequence[Delivery]) -> None:
        if self.done.called:
            return
        # of earlier batches only the last offset is needed
        self.gathered = [*self.gathered[-1:], *batch]
        for one in batch:
            # with the fences right before the record, a reader can tell that there is no gap
            if self._first is None:
                self._first = one.offset
            for record in records([one], self._stream):
                if not record.fault and _time_of(record, self._now) >= self._time:
                    self.found = self._first
                    self._end()
                    return
                self._first = None
        self._left -= len(batch)
        if self._left < 0:
            self.given_up = True
            self._end()


def _newest(gathered: Sequence[Delivery]) -> int:
    """The offset of the newest record; just before the first fence if there is none."""
    for one in reversed(gathered):
        if not is_fence(one):
            return one.offset
    return gathered[0].offset - 1


def _time_of(record: Record, now: int) -> int:
    try:
        return parse_time(load_object(record.body).get("time"))
    except ChatError:
        # a record without a time must not be skipped
        return now
