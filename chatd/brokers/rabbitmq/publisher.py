"""What a node sends to RabbitMQ: records, events, presence. On a connection of its own, since the
broker stops reading from one that publishes while it is short of memory or disk
(https://www.rabbitmq.com/alarms.html), and readers need their acknowledgements read.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from chatd.amqp.channel import Reason
from chatd.amqp.client import Client
from chatd.amqp.codec import encode_properties
from chatd.amqp.confirms import NotConfirmed, NotSent, Unroutable, pack_address, pack_publish
from chatd.brokers.interfaces import NoSuchStream, NotStored, Stream, Unavailable
from chatd.brokers.rabbitmq.publish_channels import PublishChannels
from chatd.brokers.rabbitmq.records import FENCE, publish_properties

#: Fences sent before it is believed that none comes, seconds that the first is waited for (each
#: further one twice as long), and seconds between looks.
FENCES, FENCE_SHOWN, FENCE_LOOK = 4, 0.5, 0.05

MESSAGES, EVENTS, PRESENCE = "chatd", "chatd.events", "chatd.presence"

_EVENT = encode_properties({"content-type": "application/json", "app-id": "chatd"})
_NOTE = encode_properties({"app-id": "chatd"})
_TO_ALL = pack_address(PRESENCE, "", False)


async def declare_exchanges(client: Client) -> None:
    """Make the exchanges of protocol section 7, if they are not there."""
    channel = await client.open_channel()
    for exchange, kind in ((MESSAGES, "topic"), (EVENTS, "topic"), (PRESENCE, "fanout")):
        await channel.exchange_declare(exchange=exchange, type=kind, durable=True)
    await client.close_channel(channel)


class Publishing:
    """The publishing connection: channels with confirms for records, one without for the rest."""

    def __init__(self, clock: IReactorTime) -> None:
        self.channels = PublishChannels(clock)
        self._clock = clock
        self._client: Client | None = None
        self._free_channel = 0
        self._pauses: set[Deferred[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether an append now would normally succeed."""
        return self._client is not None and self._client.blocked is None

    async def connected(self, client: Client) -> None:
        """There is a new connection."""
        await declare_exchanges(client)

        def closed(reason: Reason) -> None:
            client.fail(f"a publishing channel was closed: {reason}")

        await self.channels.connected(client)
        free = await client.open_channel()
        free.on_close = closed
        self._free_channel = free.id
        self._client = client

    def lost(self, reason: Reason) -> None:
        """There is none."""
        self._client = None
        self.channels.lost()
        for pause in list(self._pauses):
            pause.cancel()

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        """As `IBroker.append`. The directory is reached by its name, rooms by theirs."""
        properties = publish_properties(message_id, time)
        if stream.room:
            return self._publish(stream, MESSAGES, stream.room, properties, body, message_id)
        return self._publish(stream, "", stream.name, properties, body, message_id)

    async def fence(self, stream: Stream, done: Callable[[], bool]) -> bool:
        """Append fences (see `chatd.brokers.rabbitmq.consumer`) to the stream itself, one after
        another on channels ever fresher, until ``done()``, which it tells, or there are `FENCES`.
        Fails with `Unavailable` or `NoSuchStream`."""
        for n in range(FENCES):
            sent = self._clock.seconds()
            await self._publish(stream, "", stream.name, FENCE, b"", "")
            until = self._clock.seconds() + FENCE_SHOWN * 2.0**n
            while not done() and self._clock.seconds() < until:
                await self._pause(FENCE_LOOK)
            if done():
                return True
            await self.channels.distrust(stream, sent)
        return False

    async def _pause(self, seconds: float) -> None:
        pause: Deferred[None] = deferLater(self._clock, seconds)
        self._pauses.add(pause)
        try:
            await pause
        except CancelledError:
            raise Unavailable("RabbitMQ is not connected") from None
        finally:
            self._pauses.discard(pause)

    def _publish(
        self, stream: Stream, exchange: str, key: str, properties: bytes, body: bytes, id: str
    ) -> Deferred[None]:
        client, publisher = self._client, self.channels.of(stream)
        if client is None or publisher is None:
            return fail(NotStored("RabbitMQ is not connected"))
        if client.blocked is not None:
            return fail(NotStored(f"RabbitMQ takes no messages: {client.blocked}"))
        address = pack_address(exchange, key, True)
        return publisher.publish(address, key, properties, body, id).addErrback(_refused, stream)

    def announce(self, event: str, room: str, body: bytes) -> None:
        """As `IBroker.announce`."""
        self._send(pack_address(EVENTS, f"{event}.{room}", False), _EVENT, body)

    def broadcast(self, payload: bytes) -> None:
        """As `IBroker.broadcast`."""
        self._send(_TO_ALL, _NOTE, payload)

    def _send(self, address: bytes, properties: bytes, body: bytes) -> None:
        """Send what nobody waits for, unless the broker cannot keep up."""
        client = self._client
        if client is not None and client.blocked is None and not client.congestion.full:
            client.send(
                pack_publish(self._free_channel, address, properties, body, client.frame_max)
            )


def _refused(failure: Failure, stream: Stream) -> None:
    if failure.check(Unroutable):
        raise NoSuchStream(stream.name) from None
    if failure.check(NotSent):
        raise NotStored(str(failure.value)) from None
    failure.trap(NotConfirmed)
    raise Unavailable(str(failure.value)) from None
