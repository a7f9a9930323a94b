"""Reading frames from the bytes of a connection.

Deliveries and confirms, nearly all frames, are recognised by their first bytes and decoded in
place; the others are passed on one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chatd.amqp.codec import ProtocolError
from chatd.amqp.confirms import ConfirmChannel
from chatd.amqp.deliveries import (
    CONTENT_HEAD,
    DELIVER,
    FRAME_END,
    HEADER,
    HEARTBEAT,
    METHOD,
    Deliveries,
)

#: The frame size that is negotiated, in bytes: RabbitMQ's default.
FRAME_MAX = 131_072
#: The largest frame that is accepted as a whole. RabbitMQ adds headers of its own to a message, and
#: sends a header frame in one piece, even if it exceeds what was negotiated.
LARGEST = 2 * FRAME_MAX
ACK = b"\0\x3c\0\x50"


class FrameReader:
    """Reads frames. Deliveries go to ``deliveries``, confirms to the channel's entry in
    ``publishers``; ``other`` is called with type, channel and payload of all other frames, except
    heartbeats."""

    def __init__(
        self,
        deliveries: Deliveries,
        publishers: Mapping[int, ConfirmChannel],
        other: Callable[[int, int, bytes], None],
    ) -> None:
        self.stopped = False
        self._deliveries = deliveries
        self._publishers = publishers
        self._other = other
        self._rest = b""
        #: Bytes still to come of a frame that is too large, and skipped.
        self._passing = 0

    def feed(self, data: bytes) -> None:
        """Read all frames that are complete with ``data``, until ``stopped`` is set. Raises
        `ProtocolError`, struct.error or IndexError for invalid AMQP 0-9-1; the reader cannot be
        used any more then."""
        if self.stopped:
            return
        if self._passing:
            passed = min(self._passing, len(data))
            self._passing -= passed
            data = data[passed:]
        buffer, self._rest = self._rest + data if self._rest else data, b""
        self._rest = buffer[self._scan(buffer) :]
        self._deliveries.flush()

    def _scan(self, buffer: bytes) -> int:
        """Read all complete frames; returns the position of the first incomplete one."""
        taker = self._deliveries
        position, end = 0, len(buffer)
        while end - position >= 8 and not self.stopped:
            kind = buffer[position]
            channel = buffer[position + 1] << 8 | buffer[position + 2]
            stop = position + 7 + int.from_bytes(buffer[position + 3 : position + 7])
            if stop - position > LARGEST or kind not in (1, 2, 3, 8):
                if not self._pass_over(kind, channel, buffer[position + 7 : stop], stop + 1 - end):
                    break
                position = min(stop + 1, end)
                continue
            if stop >= end:
                break
            if buffer[stop] != FRAME_END:
                raise ProtocolError("a frame without its end mark")
            name = buffer[position + 7 : position + 11] if kind == METHOD else b""
            if name == DELIVER:
                position = taker.take(buffer, position, stop, end, channel)
                continue
            if name == ACK and channel in self._publishers and stop - position == 20:
                tag = int.from_bytes(buffer[position + 11 : position + 19])
                self._publishers[channel].acked(tag, bool(buffer[position + 19]))
            elif name == b"" and kind != HEARTBEAT and taker.expects(channel):
                taker.proceed(kind, channel, buffer[position + 7 : stop])
            elif kind != HEARTBEAT:
                taker.flush()
                self._other(kind, channel, buffer[position + 7 : stop])
            position = stop + 1
        return position

    def _pass_over(self, kind: int, channel: int, payload: bytes, missing: int) -> bool:
        """Skip a frame that is too large, of which ``missing`` bytes are still to come; False if
        its beginning is not complete. It can only be a header frame with large headers of another
        program; the message is then delivered without its properties."""
        if kind != HEADER or not self._deliveries.expects(channel):
            raise ProtocolError("a frame of unknown type or excessive size")
        if len(payload) < CONTENT_HEAD:
            return False
        self._deliveries.proceed(kind, channel, payload[:CONTENT_HEAD])
        self._passing = max(0, missing)
        return True
