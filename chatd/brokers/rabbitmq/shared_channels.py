"""Channels that many consumers share; RabbitMQ is fast with some hundred of them on each.

An error of one consumer closes the channel of all (https://www.rabbitmq.com/channels.html). So a
consumer that had an error is started again on a channel with few others.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import Closed

from chatd.amqp.channel import Channel, Reason
from chatd.amqp.client import Client
from chatd.brokers.rabbitmq.consumer import PREFETCH, StreamConsumer

#: Consumers on one channel, and on one for consumers that had an error.
SHARED, APART = 200, 8
#: Deliveries on a channel that wait for their acknowledgement: so few that no consumer runs out of
#: its prefetch.
SLACK = PREFETCH // 4


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
        opening = Deferred.fromCoroutine(self._open())
        opening.addErrback(self._failed)

    async def _open(self) -> None:
        channel = await self._channels.client.open_channel()
        channel.on_close = self._closed
        await channel.basic_qos(prefetch_count=PREFETCH)
        self._channels.client.deliveries.slacken(channel.id, SLACK)
        self._channel = channel
        for consumer in list(self.members):
            self._begin(consumer, channel)

    def _failed(self, failure: Failure) -> None:
        # `Closed`: the connection was lost; followers consume again after the next one
        if not failure.check(Closed):
            self._log.failure("Opening a channel failed", failure)

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
        members, self.members = self.members, set()
        self._channels.dropped(self)
        suspects = {one for one in members if f"'{one.stream}'" in reason.raw}
        suspects = suspects or self._starting | self._started
        for consumer in members:
            consumer.broken(consumer in suspects)


class SharedChannels:
    """All shared channels of one connection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._all: list[SharedChannel] = []

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
        return channel

    def dropped(self, channel: SharedChannel) -> None:
        """Forget ``channel``, which was closed."""
        self._all.remove(channel)
