"""How many records streams have, asked for many streams at a time: a passive queue.declare answers
with the number of messages (https://www.rabbitmq.com/docs/queues). RabbitMQ takes a stream's
figures every 5 s."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, DeferredList

from chatd.amqp.channel import Channel
from chatd.amqp.client import Client
from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq.channel_pool import ChannelPool


class StreamCounts:
    """Asks over one channel of its own."""

    def __init__(self, pool: ChannelPool) -> None:
        self._pool = pool

    def of(self, streams: Sequence[Stream]) -> Deferred[list[int | None]]:
        """The number of records, fences included, in each of ``streams``; None where RabbitMQ does
        not say: a stream that is gone closes the channel, so those asked for after it are not
        answered. Fails with `Unavailable`."""

        async def task(client: Client, channel: Channel) -> list[int | None]:
            answers = await DeferredList(
                [channel.queue_declare(queue=one.name, passive=True) for one in streams],
                consumeErrors=True,
            )
            return [answer.message_count if came else None for came, answer in answers]

        return self._pool.run(task)
