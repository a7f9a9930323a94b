"""What a node sends to RabbitMQ: records, events, presence. On a connection of its own, since the
broker stops reading from one that publishes while it is short of memory or disk
(https://www.rabbitmq.com/alarms.html), and readers need their acknowledgements read.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from chatd.amqp.channel import Reason
from chatd.amqp.client import Client
from chatd.amqp.codec import encode_properties
from chatd.amqp.confirms import NotConfirmed, Publisher, Unroutable, pack_address, pack_publish
from chatd.brokers.interfaces import NoSuchStream, Stream, Unavailable
from chatd.brokers.rabbitmq.records import FENCE, publish_properties

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
    """The publishing connection's channels: one with confirms for records, one without."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._publisher: Publisher | None = None
        self._free_channel = 0

    @property
    def ready(self) -> bool:
        """Whether an append now would normally succeed."""
        return self._client is not None and self._client.blocked is None

    async def connected(self, client: Client) -> None:
        """There is a new connection."""
        await declare_exchanges(client)

        def closed(reason: Reason) -> None:
            client.fail(f"a publishing channel was closed: {reason}")

        self._publisher = await client.open_publisher(closed=closed)
        free = await client.open_channel()
        free.on_close = closed
        self._free_channel = free.id
        self._client = client

    def lost(self, reason: Reason) -> None:
        """There is none."""
        self._client = self._publisher = None

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        """As `IBroker.append`. The directory is reached by its name, rooms by theirs."""
        properties = publish_properties(message_id, time)
        if stream.room:
            return self._publish(stream, MESSAGES, stream.room, properties, body, message_id)
        return self._publish(stream, "", stream.name, properties, body, message_id)

    def fence(self, stream: Stream) -> Deferred[None]:
        """Append a fence (see `chatd.brokers.rabbitmq.consumer`) to the stream itself."""
        return self._publish(stream, "", stream.name, FENCE, b"", "")

    def _publish(
        self, stream: Stream, exchange: str, key: str, properties: bytes, body: bytes, id: str
    ) -> Deferred[None]:
        client, publisher = self._client, self._publisher
        if client is None or publisher is None:
            return fail(Unavailable("RabbitMQ is not connected"))
        if client.blocked is not None:
            return fail(Unavailable(f"RabbitMQ takes no messages: {client.blocked}"))
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
    failure.trap(NotConfirmed)
    raise Unavailable(str(failure.value)) from None
