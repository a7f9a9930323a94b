"""Publishing to RabbitMQ: records, application events, broadcasts. It has a connection of its own,
because the broker stops reading from publishers while it is short of memory or disk
(https://www.rabbitmq.com/alarms.html), and consumers need their acknowledgements read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from chatd.amqp.channel import Reason
from chatd.amqp.client import Client
from chatd.amqp.codec import encode_properties
from chatd.amqp.confirms import NotConfirmed, NotSent, Unroutable, pack_address, pack_publish
from chatd.brokers.interfaces import NoSuchStream, NotStored, Stream, TooLarge, Unavailable
from chatd.brokers.rabbitmq.names import EVENTS, MESSAGES, PRESENCE, declare_exchanges
from chatd.brokers.rabbitmq.publish_channels import PublishChannels
from chatd.brokers.rabbitmq.records import FENCE, barrier_properties, publish_properties
from chatd.timing.singleflight import SingleFlight

#: Fences sent at most; seconds to wait for the first (twice as long for each further one); seconds
#: between checks.
FENCES, FENCE_SHOWN, FENCE_LOOK = 4, 0.5, 0.05

_EVENT = encode_properties({"content-type": "application/json", "app-id": "chatd"})
_NOTE = encode_properties({"app-id": "chatd"})
_TO_ALL = pack_address(PRESENCE, "", False)


class StreamPublisher:
    """The publishing connection: channels with confirms for records, one without for the rest.

    ``restore`` is called for a stream that no record can be routed to. It binds the stream again,
    or fails with `NoSuchStream` or `Unavailable`.
    """

    def __init__(self, clock: IReactorTime, restore: Callable[[Stream], Deferred[None]]) -> None:
        self.channels = PublishChannels(clock)
        self._restore = restore
        self._restoring: SingleFlight[Stream, None] = SingleFlight()
        self._clock = clock
        self._client: Client | None = None
        self._free_channel = 0
        self._pauses: set[Deferred[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether an append would normally succeed."""
        return self._client is not None and self._client.blocked is None

    @property
    def unconfirmed(self) -> int:
        """How many records wait for a confirm."""
        client = self._client
        return sum(map(len, client.publishers.values())) if client is not None else 0

    @property
    def blocked(self) -> str:
        """The broker's reason for taking no messages; "" if it does, or is not connected."""
        return (self._client.blocked or "") if self._client is not None else ""

    async def connected(self, client: Client) -> None:
        """Set up the new connection ``client``."""
        await declare_exchanges(client)

        def closed(reason: Reason) -> None:
            client.fail(f"a publishing channel was closed: {reason}")

        await self.channels.connected(client)
        free = await client.open_channel()
        free.on_close = closed
        self._free_channel = free.id
        await self.channels.learn(client)
        self._client = client

    def lost(self, reason: Reason) -> None:
        """The connection was lost."""
        self._client = None
        self.channels.ended(reason)
        self.channels.lost()
        for pause in list(self._pauses):
            pause.cancel()

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        """As `IBroker.append`. Rooms are reached by the exchange, the directory by its queue."""
        properties = publish_properties(message_id, time)
        exchange, key = (MESSAGES, stream.room) if stream.room else ("", stream.name)
        record = (stream, exchange, key, properties, body, message_id)
        return self._publish(*record).addErrback(self._once_more, *record)

    def _once_more(self, failure: Failure, stream: Stream, *record: Any) -> Deferred[None]:
        """Publish again after binding the stream, if the record could not be routed."""
        if not failure.check(Unroutable):
            return _refused(failure)
        self.channels.out_of_step(stream)
        # one for all that were under way, or they would come back as the answers do, in any order
        restored = self._restoring.share(stream, lambda: self._restore(stream))
        restored.addErrback(_not_restored)
        again = restored.addCallback(lambda _: self._publish(stream, *record))
        return again.addErrback(_not_routed)

    async def fence(self, stream: Stream, done: Callable[[], bool]) -> bool:
        """Append up to `FENCES` fences (see `chatd.brokers.rabbitmq.consumer`) to the stream, each
        over a newer channel, until ``done()``. Returns whether it is. Raises `Unavailable` or
        `NoSuchStream`."""
        for n in range(FENCES):
            sent = self._clock.seconds()
            try:
                fence = self._publish(stream, "", stream.name, FENCE, b"", "")
                await fence.addErrback(_refused)
            except Unroutable:
                raise NoSuchStream(stream.name) from None
            until = self._clock.seconds() + FENCE_SHOWN * 2.0**n
            while not done() and self._clock.seconds() < until:
                await self._pause(FENCE_LOOK)
            if done():
                return True
            await self.channels.distrust(stream, sent)
        return False

    def append_barrier(self, stream: Stream, name: str) -> Deferred[None]:
        """Append a barrier. Fails with `Unavailable` or `NoSuchStream`."""
        appended = self._publish(stream, "", stream.name, barrier_properties(name), b"", name)
        return appended.addErrback(_no_barrier, stream)

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
        client = self._client
        if client is None:
            return fail(NotStored("RabbitMQ is not connected"))
        if client.blocked is not None:
            return fail(NotStored(f"RabbitMQ takes no messages: {client.blocked}"))
        try:
            publisher = self.channels.of(stream, len(body))
        except (NotStored, TooLarge) as e:
            return fail(e)
        address = pack_address(exchange, key, True)
        return publisher.publish(address, key, properties, body, id)

    def announce(self, event: str, room: str, body: bytes) -> bool:
        """As `IBroker.announce`."""
        return self._send(pack_address(EVENTS, f"{event}.{room}", False), _EVENT, body)

    def broadcast(self, payload: bytes) -> None:
        """As `IBroker.broadcast`."""
        self._send(_TO_ALL, _NOTE, payload)

    def _send(self, address: bytes, properties: bytes, body: bytes) -> bool:
        """Publish without a confirm; drop it if the broker cannot keep up, and return False."""
        client = self._client
        if client is None or client.blocked is not None or client.congestion.full:
            return False
        client.send(pack_publish(self._free_channel, address, properties, body, client.frame_max))
        return True


def _refused(failure: Failure) -> NoReturn:
    if not failure.check(NotConfirmed):
        failure.raiseException()
    if failure.check(NotSent):
        raise NotStored(str(failure.value)) from None
    raise Unavailable(str(failure.value)) from None


def _no_barrier(failure: Failure, stream: Stream) -> NoReturn:
    if failure.check(Unroutable):
        raise NoSuchStream(stream.name) from None
    _refused(failure)


def _not_restored(failure: Failure) -> NoReturn:
    failure.trap(Unavailable)
    raise NotStored(str(failure.value)) from None


def _not_routed(failure: Failure) -> NoReturn:
    if failure.check(Unroutable):
        raise NotStored("RabbitMQ has nowhere to put it, though the stream was bound") from None
    _refused(failure)
