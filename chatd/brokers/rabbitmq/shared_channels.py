"""Channels that many consumers share; RabbitMQ is fast with some hundred of them on each.

An error of one consumer closes the channel of all (https://www.rabbitmq.com/channels.html). So a
consumer that had an error is started again on a channel with few others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import Closed

from chatd.amqp.channel import Channel, Reason, reason_of
from chatd.amqp.client import Client
from chatd.amqp.codec import ProtocolError
from chatd.brokers.rabbitmq.consumer import PREFETCH, StreamConsumer
from chatd.telemetry.once import Once

#: Consumers on one channel, and on one for consumers that had an error.
SHARED, APART = 200, 8
#: Deliveries on a channel that wait for their acknowledgement: so few that no consumer runs out of
#: its prefetch.
SLACK = PREFETCH // 4
#: Refusals in a row after which the log says why: a new leader takes less.
TELLING = 6


class SharedChannel:
    """One channel for up to ``capacity`` consumers."""

    _log = Logger()

    def __init__(self, channels: SharedChannels, capacity: int) -> None:
        self.members: set[StreamConsumer] = set()
        self.capacity = capacity
        self._channels = channels
        self._channel: Channel | None = None
        self._starting: set[StreamConsumer] = set()
        self._started: set[StreamConsumer] = set()

    def open(self) -> None:
        """Open the channel, and start the consumers added meanwhile."""
        opening = Deferred.fromCoroutine(self._open())
        opening.addErrback(self._failed)

    async def _open(self) -> None:
        channel = await self._channels.client.open_channel()
        await channel.basic_qos(prefetch_count=PREFETCH)
        channel.on_close = self._closed
        self._channels.client.deliveries.slacken(channel.id, SLACK)
        self._channel = channel
        for consumer in list(self.members):
            self._begin(consumer, channel)

    def _failed(self, failure: Failure) -> None:
        """The broker has no channel left for us, or has closed it at once. If the connection was
        lost, followers consume again after the next one."""
        failure.trap(Closed, ProtocolError)
        if not self._channels.client.ended:
            why = str(reason_of(failure))
            self._channels.failed(why)
            self._end(self.members, why)

    def _end(self, suspects: Collection[StreamConsumer], why: str) -> None:
        members, self.members = self.members, set()
        self._channels.dropped(self)
        for consumer in members:
            consumer.broken(why if consumer in suspects else "")

    def add(self, consumer: StreamConsumer) -> None:
        """Start ``consumer`` on this channel."""
        self.members.add(consumer)
        if self._channel is not None:
            self._begin(consumer, self._channel)

    def _begin(self, consumer: StreamConsumer, channel: Channel) -> None:
        self._starting.add(consumer)
        consumer.begin(channel).addCallback(self._begun, consumer)

    def _begun(self, agreed: bool, consumer: StreamConsumer) -> None:
        if agreed:
            self._starting.discard(consumer)
            self._started = {consumer}

    def _closed(self, reason: Reason) -> None:
        """The broker's text names the stream that caused the error, unless it is cut short. Then
        any consumer without a consume-ok may be the cause, or the last one that got it: RabbitMQ
        3.10 sends that before it looks whether the stream has a replica on this node."""
        self._log.debug("A channel was closed: {why}", why=str(reason))
        suspects = {one for one in self.members if f"'{one.stream}'" in reason.raw}
        self._end(suspects or self._starting | self._started, str(reason))


class SharedChannels:
    """All shared channels of one connection. ``short`` is called when it has none left: consumers
    are started again soon."""

    _log = Logger()

    def __init__(self, client: Client, short: Callable[[], None] = lambda: None) -> None:
        self.client = client
        self._short = short
        self._all: list[SharedChannel] = []
        self._new = Once()

    def attach(self, consumer: StreamConsumer, apart: bool) -> SharedChannel:
        """Start ``consumer`` on a channel that is not full; ``apart``, on one for consumers that
        had an error. Remove it with `SharedChannel.members.discard`."""
        capacity = APART if apart else SHARED
        for channel in reversed(self._all):
            if channel.capacity == capacity and len(channel.members) < capacity:
                break
        else:
            channel = SharedChannel(self, capacity)
            self._all.append(channel)
            channel.add(consumer)
            channel.open()
            return channel
        channel.add(consumer)
        return channel

    def failed(self, why: str) -> None:
        """No channel could be opened, because of ``why``."""
        self._short()
        if self._new(why):
            self._log.error("Rooms wait for a channel to be read on: {why}", why=why)

    def refused(self, stream: str, times: int, why: str) -> None:
        """``stream`` could not be read, because of ``why``, so many ``times`` in a row."""
        if times == TELLING and self._new(why.replace(stream, "")):
            self._log.error("{stream} cannot be read: {why}", stream=stream, why=why)

    def dropped(self, channel: SharedChannel) -> None:
        """Forget ``channel``, which was closed."""
        self._all.remove(channel)
