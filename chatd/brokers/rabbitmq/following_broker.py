"""What following a stream needs of the broker on RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq.hosting import Hosting
from chatd.brokers.rabbitmq.shared_channels import SharedChannels
from chatd.timing.turn_queue import TurnQueue


class FollowingBroker(Protocol):
    """What a following needs of its broker."""

    clock: IReactorTime
    #: One slice of what was read is converted in each turn of the reactor.
    turns: TurnQueue
    #: None while the broker is away.
    channels: SharedChannels | None
    #: Told of whether the directory is served.
    hosting: Hosting

    @property
    def blocked(self) -> str:
        """Why the broker takes no messages; "" if it does."""

    def count(self, stream: Stream) -> Deferred[int | None]:
        """How many records the stream had some seconds ago, fences included; None if the broker
        does not say. Fails with `Unavailable`."""

    def fence(self, stream: Stream, done: Callable[[], bool]) -> Deferred[bool]:
        """Append fences to the stream until ``done()``; False if it never is. Fails with
        `Unavailable` or `NoSuchStream`."""

    def append_barrier(self, stream: Stream, name: str) -> Deferred[None]:
        """Append a barrier. Fails with `Unavailable` or `NoSuchStream`."""

    def place_of_barrier(self, stream: Stream) -> Deferred[int]:
        """The offset of a barrier that is appended now, once it has come to the host that is read
        from. Fails with `Unavailable` or `NoSuchStream`."""

    def leader_changed(self) -> None:
        """A stream may have another leader now."""

    def exists(self, stream: Stream) -> Deferred[bool]:
        """Whether the broker has the stream. Fails with `Unavailable`."""

    def forget(self, following: Any) -> None:
        """``following`` has stopped."""
