"""A consumer of one stream that can tell when it has caught up, for which AMQP has no method.

RabbitMQ delivers what a stream holds some time after consume-ok, and nothing if it is empty. But a
basic.ack makes the channel read the stream at once, to its end or as far as the prefetch allows,
and later replies on the channel come after these deliveries. So the consumer sends an ack and then
a basic.qos. If fewer deliveries than the prefetch come before the reply, then everything that was
in the stream at the time of the ack has come (rabbit_stream_queue:settle/5, the same in 3.10 and
4.x).

In an empty stream there is nothing to acknowledge. After two replies without a delivery the owner
is told of the silence. It appends a **fence**, an empty record that readers never see, and waits
until it is delivered. A stream needs one once, before its first record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum, auto
from itertools import count
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from chatd.amqp.channel import Channel
from chatd.amqp.client import Client
from chatd.amqp.deliveries import Delivery

#: Unacknowledged deliveries of one consumer; RabbitMQ exceeds it by up to a chunk.
PREFETCH = 1000
#: Why a consumer ended, where the broker does not say: a replica went down, or the stream is gone.
CANCELLED = "RabbitMQ cancelled the consumer"

_tags = count(1)


class ConsumerOwner(Protocol):
    """Receives what a consumer delivers. Nothing is called after `StreamConsumer.close`."""

    def delivered(self, batch: Sequence[Delivery]) -> None:
        """The next records of the stream, fences included."""

    def caught_up(self) -> None:
        """Everything that was in the stream when consuming began has been delivered. Called once,
        after `delivered`."""

    def silent(self) -> None:
        """Nothing with a readable offset was delivered: perhaps the stream is empty, or ends before
        the start. Called at most once."""

    def detached(self, why: str) -> None:
        """The broker has ended the consumer, probably because of its stream, in the words ``why``;
        "" if it was because of another consumer's on the same channel. The last call."""


class ConsumerState(Enum):
    """What has come."""

    #: Nothing yet that has an offset.
    SILENT = auto()
    #: Some of what was in the stream when consuming began.
    DELIVERING = auto()
    #: All of it.
    CAUGHT_UP = auto()
    CLOSED = auto()


class StreamConsumer:
    """Consumes ``stream`` from ``start``: ``first``, ``last`` (the first record of the last chunk),
    an offset, or a time. ``prefetch`` is that of the channel."""

    _log = Logger()

    def __init__(
        self,
        client: Client,
        stream: str,
        start: str | int | datetime,
        owner: ConsumerOwner,
        prefetch: int = PREFETCH,
    ) -> None:
        self.stream = stream
        self._client = client
        self._start = start
        self._owner = owner
        self._prefetch = prefetch
        self._tag = f"chatd-{next(_tags)}"
        self._channel: Channel | None = None
        self._state = ConsumerState.SILENT
        #: Replies that came while it was silent.
        self._silences = 0
        #: The number of the newest basic.qos, and deliveries since it was sent.
        self._round = 0
        self._since = 0

    @property
    def delivered(self) -> bool:
        """Whether the owner has got anything, and the consumer is not closed."""
        return self._state in (ConsumerState.DELIVERING, ConsumerState.CAUGHT_UP)

    def begin(self, channel: Channel) -> Deferred[bool]:
        """Consume on ``channel``; fires with whether the broker agreed, and never fails."""
        self._channel = channel
        consuming = self._client.consume(
            channel,
            self.stream,
            self._tag,
            self._deliver,
            lambda: self.broken(CANCELLED),
            {"x-stream-offset": self._start},
        )
        # an error closes the channel, whose owner calls `broken`
        return consuming.addCallbacks(self._agreed, lambda _: False)

    def _agreed(self, _: object) -> bool:
        self._ask()
        return True

    def close(self) -> None:
        """End the consumer. May be called twice."""
        if self._state is not ConsumerState.CLOSED:
            self._state = ConsumerState.CLOSED
            if self._channel is not None:
                self._client.cancel(self._channel, self._tag)

    def broken(self, why: str) -> None:
        """The broker has cancelled the consumer, or closed its channel; see
        `ConsumerOwner.detached`."""
        if self._state is not ConsumerState.CLOSED:
            self._state = ConsumerState.CLOSED
            self._owner.detached(why)

    def _ask(self) -> None:
        closed = self._state is ConsumerState.CLOSED
        if closed or self._channel is None or self._channel.closed:
            return
        self._client.deliveries.acknowledge()
        self._round += 1
        self._since = 0
        asking = self._channel.basic_qos(prefetch_count=self._prefetch)
        asking.addCallbacks(self._answered, lambda _: None, callbackArgs=(self._round,))

    def _answered(self, reply: object, number: int) -> None:
        if number != self._round:
            return
        if self._state is ConsumerState.DELIVERING:
            if self._since < self._prefetch:
                self._state = ConsumerState.CAUGHT_UP
                self._owner.caught_up()
            else:
                self._ask()
        elif self._state is ConsumerState.SILENT:
            self._silences += 1
            if self._silences == 1:
                self._ask()
            else:
                self._owner.silent()

    def _deliver(self, batch: Sequence[Delivery]) -> None:
        self._since += len(batch)
        # a delivery without an offset has unreadable headers, and came before any readable one;
        # where nothing else comes, a fence has an offset
        placed = [one for one in batch if one.offset >= 0]
        if not placed:
            return
        if self._state is ConsumerState.SILENT:
            self._state = ConsumerState.DELIVERING
            self._ask()
        self._owner.delivered(placed)
