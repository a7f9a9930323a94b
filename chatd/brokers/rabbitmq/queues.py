"""Making, binding and deleting streams, which are queues of RabbitMQ (protocol, "AMQP")."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from txamqp.client import ChannelClosed

from chatd.amqp.channel import Channel, Reason, reason_of
from chatd.amqp.client import Client
from chatd.brokers.interfaces import NameTooLong, NoSuchStream, NotStored, Retention, Stream
from chatd.brokers.rabbitmq.channel_pool import ChannelPool
from chatd.brokers.rabbitmq.names import MESSAGES
from chatd.telemetry.once import Once

#: Bytes in a segment of a stream, at least and at most. Retention removes whole segments.
SEGMENT = (16 * 1024, 500_000_000)

#: Bytes in the name of a file, at most, on the file systems of Linux.
FILE_NAME = 255

_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED = 403, 404, 406


async def has_queue(channel: Channel, stream: Stream) -> bool:
    """Whether the host at the other end of ``channel`` has the stream's queue. If not, it closes
    the channel. Raises `txamqp.client.Closed`."""
    try:
        await channel.queue_declare(queue=stream.name, passive=True)
    except ChannelClosed as e:
        if not is_missing(reason_of(e)):
            raise
        return False
    return True


def is_missing(reason: Reason) -> bool:
    """Whether the broker said that there is no such queue. The code alone does not tell: it is also
    used for a queue whose node is down."""
    return reason.code == _NOT_FOUND and "no queue '" in reason.text


def arguments(stream: Stream, retention: Retention) -> dict[str, Any]:
    """The queue arguments of ``stream`` (https://www.rabbitmq.com/streams.html#retention).

    RabbitMQ chooses the number of replicas; by default every node of a cluster has one.
    """
    given: dict[str, Any] = {"x-queue-type": "stream"}
    if stream.room:
        least, most = SEGMENT
        given["x-max-age"] = f"{retention.age}s"
        given["x-max-length-bytes"] = retention.size
        given["x-stream-max-segment-size-bytes"] = min(max(retention.size // 10, least), most)
    return given


#: RabbitMQ's text for a queue that exists with other arguments, cut at 255 bytes.
_OTHERWISE = re.compile(r"inequivalent arg '([^']+)' for queue ")
_CURRENT = re.compile(r" but current is (none$|(?:the value )?'([^']*)')")
#: Arguments in which a room's stream may differ from the present configuration.
_RETENTION = {"x-max-age", "x-max-length-bytes", "x-stream-max-segment-size-bytes"}


def as_it_is(given: dict[str, Any], reason: Reason) -> dict[str, Any] | None:
    """The arguments to declare the queue with after ``given`` was refused for ``reason``: those
    that RabbitMQ says the queue has. None if the reason is not a different retention."""
    other = _OTHERWISE.search(reason.text)
    if reason.code != _PRECONDITION_FAILED or other is None or other[1] not in _RETENTION:
        return None
    rest = {name: value for name, value in given.items() if name != other[1]}
    current = _CURRENT.search(reason.text)
    if current is None or current[1] == "none":
        return rest
    number = isinstance(given[other[1]], int)
    return rest | {other[1]: int(current[2]) if number else current[2]}


def room_for(stream: Stream, vhost: str) -> int:
    """How many more bytes the name of ``stream`` might have in the virtual host; below 0 if it is
    too long. RabbitMQ keeps a stream in a directory ``<virtual host>_<queue>_<nanoseconds>``. If
    the file system does not take that name, it says that the queue was made all the same, and goes
    on trying (rabbit_stream_queue:stream_name/1)."""
    return FILE_NAME - len(f"{vhost}_{stream.name}_{0:019}".encode())


class StreamQueues:
    """Creates, binds and deletes streams in ``vhost``, several at once. A refusal by the broker is
    raised as `Unavailable` in the broker's words, and logged once."""

    _log = Logger()

    def __init__(self, pool: ChannelPool, retention: Retention, vhost: str) -> None:
        self._pool = pool
        self._vhost = vhost
        self._retention = retention
        self._new = Once()

    def create(self, stream: Stream) -> Deferred[None]:
        """As `IBroker.create`."""
        return Deferred.fromCoroutine(self._create(stream))

    async def _create(self, stream: Stream) -> None:
        room = room_for(stream, self._vhost)
        if room < 0:
            size = len(stream.room.encode())
            raise NameTooLong(
                f"In RabbitMQ's virtual host {self._vhost} the name of a room has at most"
                f" {size + room} bytes of UTF-8; this one has {size}"
            )
        given = arguments(stream, self._retention)
        # an existing queue may have another retention, but must be a durable stream
        for _ in range(len(_RETENTION) + 1):
            reason = await self._declare(stream, given)
            if reason is None:
                return
            if reason.code == _ACCESS_REFUSED and await self.exists(stream):
                return  # no permission to make it, but perhaps to use it
            otherwise = as_it_is(given, reason)
            if otherwise is None:
                raise self._refused(stream, reason)
            given = otherwise

    def _declare(self, stream: Stream, given: dict[str, Any]) -> Deferred[Reason | None]:
        async def task(client: Client, channel: Channel) -> None:
            await channel.queue_declare(queue=stream.name, durable=True, arguments=given)

        return self._attempt(task)

    def bind(self, stream: Stream) -> Deferred[None]:
        """Bind a room's stream to the exchange, which is declared as well: other programs may have
        removed either. Fails with `Unavailable` or `NoSuchStream`."""
        return Deferred.fromCoroutine(self._bind(stream))

    async def _bind(self, stream: Stream) -> None:
        async def task(client: Client, channel: Channel) -> None:
            await channel.exchange_declare(exchange=MESSAGES, type="topic", durable=True)
            await channel.queue_bind(queue=stream.name, exchange=MESSAGES, routing_key=stream.room)

        if stream.room and (reason := await self._attempt(task)) is not None:
            if is_missing(reason):
                raise NoSuchStream(stream.name)
            raise self._refused(stream, reason)

    def _attempt(
        self, task: Callable[[Client, Channel], Coroutine[Any, Any, None]]
    ) -> Deferred[Reason | None]:
        """Run ``task``; fires with the reason if the broker refused it, else with None."""

        async def attempt(client: Client, channel: Channel) -> Reason | None:
            try:
                await task(client, channel)
            except ChannelClosed as e:
                return reason_of(e)
            return None

        return self._pool.run(attempt)

    def _refused(self, stream: Stream, reason: Reason) -> NotStored:
        # without the name, so that the same refusal for many rooms is logged once
        if self._new(reason.raw.replace(stream.name, "")):
            self._log.error("RabbitMQ refuses {stream}: {why}", stream=stream.name, why=reason.text)
        return NotStored(reason.text)

    def delete(self, stream: Stream) -> Deferred[None]:
        """As `IBroker.delete`."""

        async def task(client: Client, channel: Channel) -> None:
            await channel.queue_delete(queue=stream.name)

        return self._pool.run(task)

    def exists(self, stream: Stream) -> Deferred[bool]:
        """Whether RabbitMQ has the stream. Fails with `Unavailable`."""

        async def task(client: Client, channel: Channel) -> bool:
            return await has_queue(channel, stream)

        return self._pool.run(task)
