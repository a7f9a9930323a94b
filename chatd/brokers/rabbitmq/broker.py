"""The broker on RabbitMQ, which any number of nodes share.

Streams are RabbitMQ streams, used over AMQP 0-9-1, so that other programs can take part with any
AMQP library (protocol, "AMQP"). ``publisher`` and ``publish_channels`` append, ``following``
follows, ``reader`` reads ranges, ``queues`` makes and deletes streams, ``records`` defines the
records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from chatd.amqp.channel import Reason
from chatd.amqp.client import Client
from chatd.amqp.hosts import Hosts
from chatd.amqp.service import BrokerConnection
from chatd.amqp.url import BadURL, BrokerURL
from chatd.brokers.interfaces import (
    DIRECTORY,
    Extent,
    IBroker,
    IFollower,
    IFollowing,
    NoSuchStream,
    Record,
    Retention,
    Stream,
    Unavailable,
)
from chatd.brokers.rabbitmq.bindings import Bindings
from chatd.brokers.rabbitmq.broadcasts import Broadcasts
from chatd.brokers.rabbitmq.channel_pool import ChannelPools
from chatd.brokers.rabbitmq.counts import StreamCounts
from chatd.brokers.rabbitmq.following import RabbitMQFollowing
from chatd.brokers.rabbitmq.hosting import Hosting
from chatd.brokers.rabbitmq.liveness import AT_ONCE, Liveness
from chatd.brokers.rabbitmq.names import declare_exchanges
from chatd.brokers.rabbitmq.publisher import StreamPublisher
from chatd.brokers.rabbitmq.queues import StreamQueues, room_for
from chatd.brokers.rabbitmq.reader import StreamReader
from chatd.brokers.rabbitmq.shared_channels import SharedChannels
from chatd.brokers.rabbitmq.witnesses import Undecided, Witnesses
from chatd.errors import StartError
from chatd.timing.turn_queue import TurnQueue
from chatd.timing.wall import WallClock

#: Concurrent tasks: ranges being read; streams being made or deleted.
READERS, MAKERS = 8, 8


@implementer(IBroker)
class AMQPBroker(MultiService):
    """Streams on the RabbitMQ cluster at ``url``. ``retention`` applies to streams created from now
    on. It keeps two connections, one for publishing and one for everything else."""

    exact = False
    restored = False

    def __init__(
        self,
        reactor: Any,
        url: BrokerURL,
        retention: Retention | None = None,
        wall: WallClock | None = None,
    ) -> None:
        super().__init__()
        self.clock = reactor
        wall = wall or WallClock(reactor)
        self.turns = TurnQueue(reactor, 1)
        self.channels: SharedChannels | None = None
        self._pools = pools = ChannelPools(reactor)
        self._publishing = StreamPublisher(reactor, self._bound)
        self._reading = StreamReader(wall, pools.pool(READERS), self._publishing, self.turns)
        self._looking = StreamReader(wall, pools.pool(AT_ONCE), self._publishing, self.turns)
        self._streams = StreamQueues(pools.pool(MAKERS), retention or Retention(), url.vhost)
        self._counts = StreamCounts(pools.pool(1))
        self._bindings = Bindings(self._streams.bind)
        self._followings: dict[RabbitMQFollowing, None] = {}
        #: The newest following of each stream.
        self._followed: dict[Stream, RabbitMQFollowing] = {}
        newest, counts = self._looking.newest, self._counts.of
        self._liveness = Liveness(reactor, newest, counts, lambda: self._followings)
        self._broadcasts = Broadcasts()
        self._vhost = url.vhost
        self._hosts = Hosts(len(url.hosts))
        self._witnesses = Witnesses(reactor, url, self._hosts.addresses)
        self.hosting = Hosting(reactor, self._leave)
        self._connections = [
            BrokerConnection(reactor, url, name, opened, lost, self._hosts)
            for name, opened, lost in (
                ("chatd publisher", self._publisher_connected, self._publishing.lost),
                ("chatd reader", self._connected, self._lost),
            )
        ]
        for connection in self._connections:
            connection.setServiceParent(self)

    # -- service -----------------------------------------------------------------------------------

    def startService(self) -> None:
        if (room := room_for(DIRECTORY, self._vhost)) < 0:
            most = len(self._vhost.encode()) + room
            raise StartError(f"--broker: the virtual host's name has more than {most} bytes")
        try:
            super().startService()
        except BadURL as e:
            raise StartError(f"--broker: {e}") from None
        self._liveness.start()

    def stopService(self) -> Deferred[Any]:
        self._liveness.stop()
        for following in list(self._followings):
            following.stop()
        stopping: Deferred[Any] = super().stopService()
        return stopping

    def figures(self) -> Mapping[str, tuple[str, float]]:
        reconnects = sum(connection.reconnects for connection in self._connections)
        unconfirmed = self._publishing.unconfirmed
        return {
            "broker_reconnects_total": ("Connections made anew; a node has two.", reconnects),
            "unconfirmed_publishes": ("Records sent that wait for a confirm.", unconfirmed),
        }

    @property
    def blocked(self) -> str:
        return self._publishing.blocked

    @property
    def ready(self) -> bool:
        return self.channels is not None and self._publishing.ready

    async def _publisher_connected(self, client: Client) -> None:
        await self._publishing.connected(client)  # which makes the exchanges, if they were deleted
        self._bind_again()

    def _bind_again(self) -> None:
        self._bindings.restore([following.stream for following in self._followings])
        self._broadcasts.bind_again()

    async def _connected(self, client: Client) -> None:
        self.hosting.connected()
        await declare_exchanges(client)
        await self._broadcasts.connected(client)
        self._pools.connected(client)
        self.channels = SharedChannels(client, self._pools.give_back)
        for following in list(self._followings):
            following.attach()
        self._bind_again()

    def _lost(self, reason: Reason) -> None:
        self.channels = None
        self._broadcasts.lost()
        self._pools.lost()
        self._publishing.channels.ended(reason)
        self.leader_changed()  # a node may be down
        for following in list(self._followings):
            following.lost()

    # -- streams -----------------------------------------------------------------------------------

    def restoration_told(self) -> None:
        """Does nothing: a restored backup is only known from ``--restored``."""

    def create(self, stream: Stream) -> Deferred[None]:
        return Deferred.fromCoroutine(self._create(stream))

    async def _create(self, stream: Stream) -> None:
        if not stream.room and self._hosts.count > 1:
            # where this host lacks what the others have, a second one would begin here, without
            # their rooms
            try:
                await self._exists(stream)
            except Undecided:
                raise  # nor could another host tell
            except Unavailable as e:
                if self.channels is not None:
                    self.hosting.refused(str(e))
                raise
        await self._streams.create(stream)

    def open(self, stream: Stream) -> Deferred[None]:
        return self._bound(stream).addCallback(lambda _: self._bindings.known(stream))

    def delete(self, stream: Stream) -> Deferred[None]:
        self._bindings.forget(stream)  # it may never have been followed
        return self._streams.delete(stream)

    def exists(self, stream: Stream) -> Deferred[bool]:
        """Whether RabbitMQ has the stream. Fails with `Unavailable` if its hosts do not agree."""
        return Deferred.fromCoroutine(self._exists(stream))

    async def _exists(self, stream: Stream) -> bool:
        if await self._streams.exists(stream):
            return True
        await self._witnesses.confirm(stream)
        return False

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        return self._publishing.append(stream, body, message_id, time)

    def lane(self, stream: Stream, more: bool) -> object | None:
        return self._publishing.channels.lane(stream, more)

    def distrust(self, stream: Stream, since: float) -> Deferred[None]:
        return Deferred.fromCoroutine(self._distrust(stream, since))

    async def _distrust(self, stream: Stream, since: float) -> None:
        self._liveness.hurry()
        # if the stream was unbound, another program's queue may have made the records routable
        with suppress(Unavailable, NoSuchStream):
            await self._streams.bind(stream)
        await self._publishing.channels.distrust(stream, since)

    def trust(self, stream: Stream) -> None:
        self._publishing.channels.trust(stream)

    def _bound(self, stream: Stream) -> Deferred[None]:
        return Deferred.fromCoroutine(self._bind(stream))

    async def _bind(self, stream: Stream) -> None:
        """Bind ``stream`` (again), if it is there; `NoSuchStream` if it is not."""
        if not await self._exists(stream):
            raise NoSuchStream(stream.name)
        await self._streams.bind(stream)

    def leader_changed(self) -> None:
        """Note that a stream may have another leader now."""
        self._publishing.channels.leader_changed()
        self._liveness.hurry()

    def count(self, stream: Stream) -> Deferred[int | None]:
        """How many records the stream had some seconds ago, fences included."""
        return self._counts.of([stream]).addCallback(lambda counts: counts[0])

    def fence(self, stream: Stream, done: Callable[[], bool]) -> Deferred[bool]:
        """Append fences; see `chatd.brokers.rabbitmq.publisher.StreamPublisher.fence`."""
        return Deferred.fromCoroutine(self._publishing.fence(stream, done))

    def follow(self, stream: Stream, tail: int | None, follower: IFollower) -> IFollowing:
        following = RabbitMQFollowing(self, stream, tail, follower)
        self._followings[following] = None
        self._followed[stream] = following
        following.attach()
        self._bindings.ensure(stream)
        return following

    def forget(self, following: RabbitMQFollowing) -> None:
        """Forget ``following``, which has stopped."""
        self._followings.pop(following, None)
        if self._followed.get(following.stream) is following:
            del self._followed[following.stream]
        self._bindings.forget(following.stream)

    def read(self, stream: Stream, start: int, stop: int) -> Deferred[Sequence[Record]]:
        following = self._followed.get(stream)
        seen = following.seen if following is not None else None
        return self._reading.read(stream, start, stop, -1 if seen is None else seen)

    def locate(self, stream: Stream, time: int) -> Deferred[int]:
        return self._reading.locate(stream, time)

    def place_of_barrier(self, stream: Stream) -> Deferred[int]:
        """The offset of a barrier that is appended now, once it has come to this host."""
        return self._looking.place_of_barrier(stream)

    def end(self, stream: Stream) -> Deferred[int]:
        """As `IBroker.end`. Of a stream that is not followed, the end that this host of RabbitMQ
        has."""
        following = self._followed.get(stream)
        if following is None:
            return self._reading.end(stream)
        return Deferred.fromCoroutine(following.end())

    def sync(self, stream: Stream) -> Deferred[None]:
        following = self._followed.get(stream)
        if following is None:
            return fail(Unavailable("the stream is not followed now"))
        return Deferred.fromCoroutine(following.sync(self._looking.newest))

    def append_barrier(self, stream: Stream, name: str) -> Deferred[None]:
        """Append a barrier; see `chatd.brokers.rabbitmq.barriers`."""
        return self._publishing.append_barrier(stream, name)

    def extents(self, streams: Sequence[Stream]) -> Deferred[Sequence[Extent | None]]:
        def told(counts: list[int | None]) -> Sequence[Extent | None]:
            return [Extent(count) if count is not None else None for count in counts]

        return self._counts.of(streams).addCallback(told)

    # -- between nodes, and to other programs ------------------------------------------------------

    def announce(self, event: str, room: str, body: bytes) -> bool:
        return self._publishing.announce(event, room, body)

    def broadcast(self, payload: bytes) -> None:
        self._publishing.broadcast(payload)

    def _leave(self, why: str) -> None:
        """Go to another host of RabbitMQ, if there is one."""
        if self._hosts.leave():
            self._move(why)

    def _move(self, why: str) -> None:
        for connection in self._connections:
            connection.move(why)

    def reconnect(self, why: str, again: bool) -> None:
        self._hosts.meet(again)
        self._move(why)
        self._broadcasts.renew(why)  # if that did not move

    def listen(self, handler: Callable[[bytes], None]) -> None:
        self._broadcasts.handlers.append(handler)
