"""The frames of one direction of a connection, from the socket's bytes to whom they are for.

Deliveries and confirms, nearly all there is, are recognised by their first bytes and decoded no
further than needed; everything else is handed on frame by frame.
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

#: The largest frame either side may send; RabbitMQ's own default.
FRAME_MAX = 131_072
#: The largest frame that is read as a whole. RabbitMQ adds headers of its own to messages that are
#: as large as may be, and sends a header frame in one piece, whatever was agreed on.
LARGEST = 2 * FRAME_MAX
ACK = b"\0\x3c\0\x50"


class FrameReader:
    """Takes bytes as they come. ``other`` is given type, channel and payload of every frame that is
    neither part of a delivery, nor a confirm for one of ``publishers`` (by channel), nor a
    heartbeat."""

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
        #: Bytes still to come of a frame that is too large to be kept.
        self._passing = 0

    def feed(self, data: bytes) -> None:
        """Take every frame that is complete with ``data``, until `stopped` is set. Fails with
        `ProtocolError`, struct.error or IndexError for what is not AMQP 0-9-1; no more bytes can
        be taken then."""
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
        """Take every complete frame; return where the incomplete one begins."""
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
        """Take a frame too large to be kept, of which ``missing`` bytes are still to come; False if
        too little of it is there. Only the headers that another program gave its message can be
        that large: the message then is one that cannot be read, and harms no other."""
        if kind != HEADER or not self._deliveries.expects(channel):
            raise ProtocolError("a frame of unknown type or excessive size")
        if len(payload) < CONTENT_HEAD:
            return False
        self._deliveries.proceed(kind, channel, payload[:CONTENT_HEAD])
        self._passing = max(0, missing)
        return True
