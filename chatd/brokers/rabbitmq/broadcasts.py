"""What nodes tell each other over the exchange `PRESENCE`, received on a queue of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import ChannelClosed, Closed

from chatd.amqp.channel import Channel, reason_of
from chatd.amqp.client import Client
from chatd.amqp.deliveries import Delivery
from chatd.brokers.rabbitmq.names import PRESENCE


@frozen
class _Queue:
    """The queue ``name``, received on a ``channel`` of ``client``."""

    client: Client
    channel: Channel
    name: str


@define(eq=False)
class Broadcasts:
    """Hands what is broadcast to ``handlers``, between `connected` and `lost`."""

    handlers: list[Callable[[bytes], None]] = field(factory=list)
    _queue: _Queue | None = field(default=None, init=False)
    _renewing: bool = field(default=False, init=False)
    _tags: count[int] = field(factory=count, init=False)

    _log = Logger()

    async def connected(self, client: Client) -> None:
        """Receive broadcasts on a queue that is deleted with this connection. Raises
        `txamqp.client.Closed` if the broker refuses it."""

        def deleted(why: str = "it was deleted") -> None:
            client.fail(f"the presence queue is gone: {why}")

        channel = await client.open_channel()
        declared = await channel.queue_declare(queue="", exclusive=True, auto_delete=True)
        await channel.queue_bind(queue=declared.queue, exchange=PRESENCE)
        tag = f"chatd-presence-{next(self._tags)}"
        await client.consume(channel, declared.queue, tag, self._heard, deleted, {})
        channel.on_close = lambda reason: deleted(str(reason))
        self._queue = _Queue(client, channel, declared.queue)

    def lost(self) -> None:
        """The connection has ended."""
        self._queue = None

    def bind_again(self) -> None:
        """The exchange may have been deleted, and made again."""
        if self._queue is not None:
            binding = self._queue.channel.queue_bind(queue=self._queue.name, exchange=PRESENCE)
            binding.addErrback(lambda failure: failure.trap(Closed))  # the connection ends, too

    def renew(self, why: str) -> None:
        """Receive on a new queue. A node of RabbitMQ that took another one for dead has forgotten
        the bindings of the queues there, and is not told of them again when it finds that the other
        lives; of a new one, all nodes are told."""
        if self._queue is not None and not self._queue.client.closed and not self._renewing:
            self._log.info("Listening on a new queue: {why}", why=why)
            self._renewing = True
            renewed = Deferred.fromCoroutine(self._replace(self._queue))
            renewed.addErrback(self._not_renewed).addCallback(self._renewed)

    async def _replace(self, old: _Queue) -> None:
        try:
            await self.connected(old.client)
        except ChannelClosed as e:
            old.client.fail(f"no new queue for presence: {reason_of(e)}")
            raise
        await old.client.close_channel(old.channel)

    def _not_renewed(self, failure: Failure) -> None:
        # `Closed`: the connection has ended, and the next one has a queue of its own
        if not failure.check(Closed):
            self._log.failure("Listening on a new queue failed", failure)

    def _renewed(self, _: object) -> None:
        self._renewing = False

    def _heard(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            for handler in self.handlers:
                try:
                    handler(delivery.body)
                except Exception:
                    self._log.failure("A listener failed")
