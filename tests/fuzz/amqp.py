"""What RabbitMQ and programs beside chatd send over AMQP."""

from __future__ import annotations

import struct
from typing import Any

from chatd.amqp.codec import (
    ProtocolError,
    decode_method,
    decode_properties,
    encode_properties,
)
from chatd.amqp.deliveries import Consumer, Deliveries, Delivery
from chatd.amqp.frames import FrameReader
from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq.records import records

#: What is not AMQP ends the connection; see `FrameReader.feed`.
DECLARED = (ProtocolError, struct.error, IndexError)
_STREAM = Stream("hall", "e1")


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame (AMQP 0-9-1, section 4.2.3)."""
    return struct.pack("!BHI", kind, channel, len(payload)) + payload + b"\xce"


def _short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


PROPERTIES = (
    encode_properties(
        {
            "content-type": "application/json",
            "headers": {"x-stream-offset": 7, "user": "ann", "deep": {"a": [1, True, None, "x"]}},
            "message-id": "m1",
            "timestamp": 1_700_000_000,
            "app-id": "chatd",
        }
    ),
    encode_properties({"headers": {}}),
)
#: The letters of field types.
LETTERS = tuple(bytes([letter]) for letter in b"tbBsuIilLfdDSATFVx")
_DELIVER = b"\0\x3c\0\x3c" + _short(b"tag") + struct.pack("!QB", 1, 0) + _short(b"chatd")
_DELIVER += _short(b"hall")
_BODY = b'{"id":"m1","user":"ann","text":"hi","time":"2026-11-01T12:00:00.000Z"}'
_HEADER = struct.pack("!HHQ", 60, 0, len(_BODY)) + PROPERTIES[0]
FRAMES = (
    frame(1, 1, _DELIVER) + frame(2, 1, _HEADER) + frame(3, 1, _BODY) + frame(8, 0, b""),
    frame(1, 1, b"\0\x14\0\x28\0\0\2\x91\0\0\0\0"),
    frame(1, 2, b"\0\x3c\0\x50" + struct.pack("!QB", 1, 1)),
)
METHODS = (
    b"\0\x14\0\x28" + struct.pack("!H", 404) + _short(b"no queue") + b"\0\x32\0\x0a",
    b"\0\x0a\0\x0a\0\x09\0\0\0\x08\x04capsF\0\0\0\0\0\0\0\5PLAIN\0\0\0\5en_US",
    b"\0\x32\0\x0b" + _short(b"queue") + b"\0\0\0\1\0\0\0\2",
)
RECORDS = tuple(raw + b"\n" + body for raw in PROPERTIES for body in (_BODY, b"plain"))


def feed(data: bytes) -> None:
    """Frames, in pieces, for a connection with a consumer."""
    deliveries = Deliveries(lambda written: None)
    deliveries.add(Consumer("tag", 1, lambda batch: None, lambda: None))
    reader = FrameReader(deliveries, {}, lambda kind, channel, payload: None)
    for start in range(0, len(data), 50):
        reader.feed(data[start : start + 50])


def method(data: bytes) -> Any:
    """A method's frame."""
    return decode_method(data)


def properties(data: bytes) -> Any:
    """A content header's properties, and the table in them."""
    return decode_properties(data)


def record(data: bytes) -> None:
    """A delivery on a room's stream: properties, and behind a newline the body."""
    raw, _, body = data.partition(b"\n")
    for one in records([Delivery(7, body, raw, b"hall")], _STREAM):
        assert one.offset == 7
