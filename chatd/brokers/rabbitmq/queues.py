"""Making and deleting the queues that are chatd's streams (protocol, section 7)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from txamqp.client import ChannelClosed

from chatd.amqp.channel import Channel, Reason, reason_of
from chatd.amqp.client import Client
from chatd.brokers.interfaces import Retention, Stream
from chatd.brokers.rabbitmq.channel_pool import ChannelPool
from chatd.brokers.rabbitmq.publisher import MESSAGES

#: Bytes in a segment of a stream, at least and at most. Retention drops whole segments.
SEGMENT = (16 * 1024, 500_000_000)

_NOT_FOUND, _PRECONDITION_FAILED = 404, 406


def is_missing(reason: Reason) -> bool:
    """Whether the broker said that there is no such queue. The same code also stands for one
    whose node is down, or not yet up."""
    return reason.code == _NOT_FOUND and "no queue '" in reason.text


def arguments(stream: Stream, retention: Retention) -> dict[str, Any]:
    """The queue arguments of ``stream`` (https://www.rabbitmq.com/streams.html#retention).

    The number of replicas is RabbitMQ's to choose: every node of a cluster, by default.
    """
    given: dict[str, Any] = {"x-queue-type": "stream"}
    if stream.room:
        least, most = SEGMENT
        given["x-max-age"] = f"{retention.age}s"
        given["x-max-length-bytes"] = retention.size
        given["x-stream-max-segment-size-bytes"] = min(max(retention.size // 10, least), most)
    return given


class Streams:
    """Creates and deletes streams, several at once."""

    def __init__(self, pool: ChannelPool, retention: Retention) -> None:
        self._pool = pool
        self._retention = retention

    def create(self, stream: Stream) -> Deferred[None]:
        """As `IBroker.create`."""
        return Deferred.fromCoroutine(self._create(stream))

    async def _create(self, stream: Stream) -> None:
        async def declare(client: Client, channel: Channel) -> None:
            try:
                await channel.queue_declare(
                    queue=stream.name,
                    durable=True,
                    arguments=arguments(stream, self._retention),
                )
            except ChannelClosed as e:
                # it exists, made when other retention was configured
                if reason_of(e).code != _PRECONDITION_FAILED:
                    raise

        async def bind(client: Client, channel: Channel) -> None:
            await channel.queue_bind(queue=stream.name, exchange=MESSAGES, routing_key=stream.room)

        await self._pool.run(declare)
        if stream.room:
            await self._pool.run(bind)

    def delete(self, stream: Stream) -> Deferred[None]:
        """As `IBroker.delete`."""

        async def task(client: Client, channel: Channel) -> None:
            await channel.queue_delete(queue=stream.name)

        return self._pool.run(task)

    def exists(self, stream: Stream) -> Deferred[bool]:
        """Whether there is such a stream."""

        async def task(client: Client, channel: Channel) -> bool:
            try:
                await channel.queue_declare(queue=stream.name, passive=True)
            except ChannelClosed as e:
                if not is_missing(reason_of(e)):
                    raise
                return False
            return True

        return self._pool.run(task)
