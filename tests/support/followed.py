"""A stream that a `RabbitMQFollowing` follows, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from attrs import Factory, define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import IFollower, IFollowing, Stream
from chatd.brokers.rabbitmq.following import RabbitMQFollowing
from chatd.brokers.rabbitmq.hosting import Hosting
from chatd.brokers.rabbitmq.records import FENCE, barrier_properties, publish_properties
from chatd.timing.turn_queue import TurnQueue


@define(eq=False)
class Streams:
    """What a following needs of a broker with a stream, whose records (None: a fence) may be
    exchanged for others. It is also the shared channels and the members of one."""

    records: list[bytes | None] = field(factory=list)
    #: The offset of the first of the records.
    first: int = 0
    clock: Clock = field(factory=Clock)
    restored: bool = False
    client: Any = None
    #: Why the host was to be left.
    left: list[str] = field(factory=list)
    hosting: Hosting = Factory(lambda self: Hosting(self.clock, self.left.append), True)
    members: set[Any] = field(factory=set)
    #: Where each consumer began.
    starts: list[Any] = field(factory=list)
    following: RabbitMQFollowing | None = None
    wall: Any = None
    turns: TurnQueue = field(default=Factory(lambda self: TurnQueue(self.clock, 1), True))
    #: The names of barriers appended, and what becomes of the next.
    barriers: list[str] = field(factory=list)
    barrier_stored: Deferred[None] = field(factory=lambda: succeed(None))
    #: Where the next barrier lies that is asked for when no fence comes.
    place: Deferred[int] = field(factory=Deferred)
    #: Why no messages are taken.
    blocked: str = ""
    #: What it brings is all that there is, so a directory asks for no barrier.
    exact: bool = True

    @property
    def channels(self) -> Any:
        return self

    def attach(self, consumer: Any, apart: bool) -> Any:
        self.starts.append(consumer._start)
        return self

    def refused(self, stream: str, times: int, why: str) -> None:
        """The log says nothing of it here."""

    def create(self, stream: Stream) -> Deferred[None]:
        return succeed(None)

    def exists(self, stream: Stream) -> Deferred[bool]:
        return succeed(True)

    def count(self, stream: Stream) -> Deferred[int | None]:
        return succeed(len(self.records))

    def fence(self, stream: Stream, done: Callable[[], bool]) -> Deferred[bool]:
        return succeed(done())

    def place_of_barrier(self, stream: Stream) -> Deferred[int]:
        return self.place

    def append_barrier(self, stream: Stream, name: str) -> Deferred[None]:
        self.barriers.append(name)
        return self.barrier_stored

    def leader_changed(self) -> None:
        """Nothing follows from it here."""

    def forget(self, following: RabbitMQFollowing) -> None:
        """Nothing is known of it."""

    def follow(self, stream: Stream, tail: int | None, follower: IFollower) -> IFollowing:
        self.following = RabbitMQFollowing(cast(Any, self), stream, tail, follower)
        self.following.attach()
        return self.following

    def bring(self, at_a_time: int = 100) -> None:
        """The newest consumer gets all from where it began on."""
        following = self.following
        assert following is not None
        start = 0 if self.starts[-1] in ("first", "last") else self.starts[-1] - self.first
        key = (following.stream.room or following.stream.name).encode()
        batch = [
            Delivery(
                self.first + n,
                one or b"",
                FENCE if one is None else publish_properties("m", 0),
                key,
            )
            for n, one in enumerate(self.records)
            if n >= start
        ]
        for n in range(0, len(batch), at_a_time):
            following.delivered(batch[n : n + at_a_time])
        following.caught_up()

    def come(self, name: str, offset: int) -> None:
        """A barrier comes to the consumer."""
        assert self.following is not None
        stream = self.following.stream
        self.following.delivered(
            [Delivery(offset, b"", barrier_properties(name), stream.name.encode())]
        )

    def come_back(self) -> None:
        """The connection was lost, and there is another one."""
        assert self.following is not None
        self.following.lost()
        self.following.attach()
