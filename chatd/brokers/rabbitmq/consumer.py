"""One consumer on one stream, and the question AMQP has no method for: is this all there is?

RabbitMQ sends what a stream holds some time after consume-ok, and nothing at all when it holds
nothing. But a basic.ack makes the channel read the stream at once, as far as it goes or the
prefetch allows, and later replies on the channel come after those deliveries. So an ack and then a
basic.qos, whose reply comes with fewer deliveries before it than the prefetch, prove that all that
was there at the ack has come (rabbit_stream_queue:settle/5, the same in 3.10 and 4.x).

There is nothing to acknowledge in a stream that is empty. If two replies come without a delivery
it may be so, and the owner is told of silence; it appends a **fence**, an empty record that no
reader is shown, and waits for that. A stream needs one once, before its first record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from chatd.amqp.channel import Channel
from chatd.amqp.client import Client
from chatd.amqp.deliveries import Delivery

#: Deliveries under way to one consumer. RabbitMQ goes over it by up to a chunk.
PREFETCH = 1000

_tags = count(1)


class ConsumerOwner(Protocol):
    """Whom an attachment serves. None of it is called after `StreamConsumer.close`."""

    def delivered(self, batch: Sequence[Delivery]) -> None:
        """The next of the stream, fences included."""

    def caught_up(self) -> None:
        """Everything that was in the stream when consuming began has been delivered. Called once,
        after a delivery."""

    def silent(self) -> None:
        """Nothing has been delivered: the stream is empty, or ends before the start. Called at
        most once."""

    def detached(self, suspect: bool) -> None:
        """The broker ended the consumer, and the attachment is closed: because of its stream, if
        ``suspect``; else for another's sake."""


class StreamConsumer:
    """A consumer of ``stream`` from ``start``: ``first``, ``last`` (the last chunk's first record),
    an offset, or a time. ``prefetch`` is the channel's."""

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
        self._closed = False
        self._caught_up = False
        #: Whether anything has come.
        self.delivered = False
        self._silences = 0
        self._round = 0
        self._since = 0

    def begin(self, channel: Channel) -> Deferred[bool]:
        """Consume on ``channel``; fires, never fails, with whether the broker agreed."""
        self._channel = channel
        consuming = self._client.consume(
            channel,
            self.stream,
            self._tag,
            self._deliver,
            lambda: self.broken(True),
            {"x-stream-offset": self._start},
        )
        # what made it fail closed the channel, whose owner tells us
        return consuming.addCallbacks(self._agreed, lambda _: False)

    def _agreed(self, _: object) -> bool:
        self._ask()
        return True

    def close(self) -> None:
        """End the consumer, if it has not ended."""
        if not self._closed:
            self._closed = True
            if self._channel is not None:
                self._client.cancel(self._channel, self._tag)

    def broken(self, suspect: bool) -> None:
        """The consumer was cancelled by the broker, or its channel closed; ``suspect`` if this
        stream may be the reason."""
        if not self._closed:
            self._closed = True
            self._owner.detached(suspect)

    def _ask(self) -> None:
        if self._closed or self._channel is None or self._channel.closed:
            return
        self._round += 1
        self._since = 0
        asking = self._channel.basic_qos(prefetch_count=self._prefetch)
        asking.addCallbacks(self._answered, lambda _: None, callbackArgs=(self._round,))

    def _answered(self, reply: object, number: int) -> None:
        if self._closed or number != self._round or self._caught_up:
            return
        if self.delivered:
            if self._since < self._prefetch:
                self._caught_up = True
                self._owner.caught_up()
            else:
                self._ask()
        elif self._silences == 0:
            self._silences = 1
            self._ask()
        else:
            self._owner.silent()

    def _deliver(self, batch: Sequence[Delivery]) -> None:
        # the acknowledgement of this batch has just been written
        self._since += len(batch)
        if not self.delivered:
            self.delivered = True
            self._ask()
        # what has no offset has headers nobody can read, and nothing before it tells its place
        placed = [one for one in batch if one.offset >= 0]
        if placed:
            self._owner.delivered(placed)
