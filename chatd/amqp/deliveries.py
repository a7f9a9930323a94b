"""The hot path for consuming: basic.deliver with its header and body, from bytes to a consumer.

txAMQP runs a chain of Deferreds for every frame, about 150 µs a message. Here a delivery that is
complete in the buffer is cut out in one step; one that comes in pieces is put together frame by
frame. After each read a consumer gets its deliveries in one call, and each channel is acknowledged
with one ``basic.ack(multiple)``; a channel with `Deliveries.slack` only after so many of them, or a
moment later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatd.amqp.codec import ProtocolError, decode_properties

#: Bytes of a body that are kept; other programs' messages may be larger.
MAX_BODY = 1024 * 1024
#: Bytes of properties that are decoded, at most: it takes a microsecond for every few bytes.
MAX_PROPERTIES = 16 * 1024

#: Seconds that deliveries wait for their acknowledgement, at most, where that may wait.
ACKNOWLEDGED = 1.0

METHOD, HEADER, BODY, HEARTBEAT, FRAME_END = 1, 2, 3, 8, 206
DELIVER = b"\0\x3c\0\x3c"

_FRAME = Struct("!BHI")
_CONTENT = Struct("!BHIHHQ")
_ACK = Struct("!BHIHHQBB")
#: Bytes of a header frame's payload before the properties: class, weight, body size.
CONTENT_HEAD = 12
_LONGLONG = Struct("!Q")
_OFFSET = Struct("!q")
_OFFSET_FIELD = b"\x0fx-stream-offsetl"
_LONG = Struct("!L")
#: Bytes of a table's value by type letter; values of the other types begin with their length.
_SIZES = dict(zip(b"tbBsuIilLfdDTV", (1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 5, 8, 0), strict=True))


class Delivery(NamedTuple):
    """One message: its stream offset (-1 if it has none), its body, its encoded properties, and its
    routing key."""

    offset: int
    body: bytes
    raw: bytes
    key: bytes

    def properties(self) -> dict[str, Any]:
        """The properties by their names in the spec, such as ``message-id``. Raises `ProtocolError`
        if they cannot be decoded, or are longer than `MAX_PROPERTIES`."""
        if len(self.raw) > MAX_PROPERTIES:
            raise ProtocolError("the properties are too long")
        return decode_properties(self.raw)


@define(eq=False)
class Consumer:
    """A consumer. ``handler`` gets its deliveries; ``cancelled`` is called if the server ends
    it."""

    tag: str
    channel: int
    handler: Callable[[Sequence[Delivery]], None]
    cancelled: Callable[[], None]
    batch: list[Delivery] = field(factory=list)
    #: The stream offset of the newest delivery.
    offset: int = -1


@define
class _Partial:
    """A delivery of which some frames have come. ``missing`` is the number of body bytes to come,
    -1 before the header."""

    consumer: Consumer | None
    tag: int
    key: bytes
    raw: bytes = b""
    missing: int = -1
    body: bytearray = field(factory=bytearray)


def stream_offset(raw: bytes) -> int:
    """The ``x-stream-offset`` header in encoded properties, -1 if there is none.

    RabbitMQ replaces a publisher's own header of that name, so it cannot be forged. Other headers
    are skipped without decoding them.
    """
    try:
        flags = raw[0]
        if not flags & 0x20:
            return -1
        place = 2
        if flags & 0x80:
            place += 1 + raw[place]
        if flags & 0x40:
            place += 1 + raw[place]
        end = place + 4 + _LONG.unpack_from(raw, place)[0]
        place += 4
        while place < end:
            if raw.startswith(_OFFSET_FIELD, place):
                offset: int = _OFFSET.unpack_from(raw, place + 17)[0]
                return offset
            place += 1 + raw[place]
            size = _SIZES.get(raw[place])
            place += 1 + size if size is not None else 5 + _LONG.unpack_from(raw, place + 1)[0]
    except (IndexError, StructError):
        pass
    return -1


class Deliveries:
    """The consumers of a connection, and their deliveries. ``write`` sends bytes; without
    ``clock`` acknowledgements that wait do so until `acknowledge`."""

    _log = Logger()

    def __init__(self, write: Callable[[bytes], object], clock: IReactorTime | None = None) -> None:
        self._write = write
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._consumers: dict[bytes, Consumer] = {}
        self._partial: dict[int, _Partial] = {}
        #: By channel: the newest delivery that is not acknowledged, the newest one that is, and how
        #: many may wait.
        self._acks: dict[int, int] = {}
        self._acked: dict[int, int] = {}
        self._slack: dict[int, int] = {}
        self._waiting: list[Consumer] = []
        self._closing: set[int] = set()

    def add(self, consumer: Consumer) -> None:
        """Deliver to ``consumer`` from now on."""
        self._consumers[consumer.tag.encode()] = consumer

    def remove(self, tag: str) -> Consumer | None:
        """Forget a consumer, and return it. Deliveries that still come for it are acknowledged and
        dropped."""
        consumer = self._consumers.pop(tag.encode(), None)
        if consumer is not None:
            consumer.batch.clear()
        return consumer

    def open_channel(self, channel: int) -> None:
        """Acknowledge deliveries on ``channel`` from now on."""
        self._closing.discard(channel)
        self._acked[channel] = 0

    def slacken(self, channel: int, slack: int) -> None:
        """Let up to ``slack`` deliveries on ``channel`` wait for their acknowledgement, for
        `ACKNOWLEDGED` seconds at most."""
        self._slack[channel] = slack

    def close_channel(self, channel: int) -> None:
        """Forget all consumers of a channel that is closing or closed. Deliveries that still come
        must not be acknowledged: that would close the next channel with this number, or the
        connection."""
        self._closing.add(channel)
        for consumer in [c for c in self._consumers.values() if c.channel == channel]:
            self.remove(consumer.tag)
        self._partial.pop(channel, None)
        for known in (self._acks, self._acked, self._slack):
            known.pop(channel, None)

    def expects(self, channel: int) -> bool:
        """Whether a delivery on this channel still lacks frames."""
        return channel in self._partial

    def take(self, buffer: bytes, start: int, stop: int, end: int, channel: int) -> int:
        """Take the basic.deliver frame that starts at ``start`` and has its end mark at ``stop``;
        with its content, if that ends before ``end``. Returns the position after them."""
        if channel in self._partial:
            raise ProtocolError("a delivery began inside another")
        place = start + 12 + buffer[start + 11]
        consumer = self._consumers.get(buffer[start + 12 : place])
        tag = _LONGLONG.unpack_from(buffer, place)[0]
        place += 10 + buffer[place + 9]  # past the exchange
        key = buffer[place + 1 : place + 1 + buffer[place]]
        head = stop + 1
        if end - head >= 29:
            kind, number, header, _, _, length = _CONTENT.unpack_from(buffer, head)
            body = head + 8 + header
            if kind == HEADER and number == channel and end - body >= 8:
                kind, number, size = _FRAME.unpack_from(buffer, body)
                after: int = body + 8 + size
                if (
                    kind == BODY
                    and number == channel
                    and size == length <= MAX_BODY
                    and after <= end
                    and buffer[body - 1] == FRAME_END == buffer[after - 1]
                ):
                    raw = buffer[head + 19 : body - 1]
                    self._complete(consumer, channel, tag, key, raw, buffer[body + 7 : after - 1])
                    return after
        self._partial[channel] = _Partial(consumer, tag, key)
        return head

    def proceed(self, kind: int, channel: int, payload: bytes) -> None:
        """Take a header or body frame of a delivery that came in pieces."""
        partial = self._partial[channel]
        if kind == HEADER and partial.missing < 0:
            # of a header that is too large only the first `CONTENT_HEAD` bytes are passed
            partial.missing = _LONGLONG.unpack_from(payload, 4)[0]
            partial.raw = payload[CONTENT_HEAD:]
        elif kind == BODY and partial.missing >= len(payload):
            partial.missing -= len(payload)
            partial.body += payload[: MAX_BODY - len(partial.body)]
        else:
            raise ProtocolError("a content frame out of place")
        if partial.missing == 0:
            del self._partial[channel]
            body = bytes(partial.body)
            self._complete(partial.consumer, channel, partial.tag, partial.key, partial.raw, body)

    def _complete(
        self, consumer: Consumer | None, channel: int, tag: int, key: bytes, raw: bytes, body: bytes
    ) -> None:
        if channel in self._closing:
            return
        self._acks[channel] = tag
        if consumer is not None:
            if not consumer.batch:
                self._waiting.append(consumer)
            offset = stream_offset(raw)
            if offset < 0 <= consumer.offset:
                offset = consumer.offset + 1  # a record of a stream, with unreadable headers
            consumer.offset = offset
            consumer.batch.append(Delivery(offset, body, raw, key))

    def flush(self) -> None:
        """Acknowledge deliveries taken, as far as that may not wait, then pass them to their
        consumers. In this order, since consumers run synchronously: they delay the next read, so no
        credit is needed for that."""
        if self._acks:
            acked, slack = self._acked.get, self._slack.get
            due = [c for c, tag in self._acks.items() if tag - acked(c, 0) > slack(c, 0)]
            self._acknowledge(due)
            if self._acks and self._timer is None and self._clock is not None:
                self._timer = self._clock.callLater(ACKNOWLEDGED, self._late)
        waiting, self._waiting = self._waiting, []
        for consumer in waiting:
            batch, consumer.batch = consumer.batch, []
            if not batch:
                continue
            try:
                consumer.handler(batch)
            except Exception:
                self._log.failure("A consumer failed; its deliveries are lost")

    def acknowledge(self) -> None:
        """Acknowledge all deliveries taken."""
        self._acknowledge(list(self._acks))

    def _late(self) -> None:
        self._timer = None
        self.acknowledge()

    def end(self) -> None:
        """The connection is over."""
        timer, self._timer, self._clock = self._timer, None, None
        if timer is not None:
            timer.cancel()

    def _acknowledge(self, channels: Sequence[int]) -> None:
        frames = []
        for channel in channels:
            tag = self._acked[channel] = self._acks.pop(channel)
            frames.append(_ACK.pack(METHOD, channel, 13, 60, 80, tag, 1, FRAME_END))
        if frames:
            self._write(b"".join(frames))
