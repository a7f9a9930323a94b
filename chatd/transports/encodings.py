"""The encodings of messages and events, one for each transport, shared by its connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.protocol.json import dump
from chatd.protocol.messages import Message
from chatd.rooms.interfaces import IEncoding


def text_frame(payload: bytes) -> bytes:
    """An unfragmented, unmasked WebSocket text frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


def texts(frames: bytes) -> list[bytes]:
    """What `text_frame` was given to make ``frames``."""
    found: list[bytes] = []
    at = 0
    while at < len(frames):
        size, head = frames[at + 1], 2
        if size >= 126:
            head = 4 if size == 126 else 10
            size = int.from_bytes(frames[at + 2 : at + head])
        at += head + size
        found.append(frames[at - size : at])
    return found


@implementer(IEncoding)
class WebSocketEncoding:
    """``chatd.v1``: a text frame for each object."""

    def encode(self, messages: Sequence[Message]) -> bytes:
        return b"".join([text_frame(m.json) for m in messages])

    def event(self, frame: dict[str, Any]) -> bytes:
        return text_frame(dump(frame))


@implementer(IEncoding)
class LegacyEncoding:
    """The original's clients: a text frame with the bare text for each message; no events."""

    def encode(self, messages: Sequence[Message]) -> bytes:
        return b"".join([text_frame(m.text.encode("utf-8")) for m in messages])

    def event(self, frame: dict[str, Any]) -> bytes:
        return b""


@implementer(IEncoding)
class EventStreamEncoding:
    """Server-sent events (HTML standard, section 9.2): messages are unnamed events with their
    cursor as id; everything else is a named event, with an id if it has a cursor."""

    def encode(self, messages: Sequence[Message]) -> bytes:
        # JSON has no line breaks, so it fits in one data line
        return b"".join(
            [b"id: %s\ndata: %s\n\n" % (str(m.cursor).encode(), m.json) for m in messages]
        )

    def event(self, frame: dict[str, Any]) -> bytes:
        id = b"id: %s\n" % frame["cursor"].encode() if "cursor" in frame else b""
        return b"%sevent: %s\ndata: %s\n\n" % (id, frame["type"].encode(), dump(frame))

    def opening(self, retry: int, cursor: Cursor) -> bytes:
        """The block that opens a stream: no event, but the reconnection time in milliseconds, and
        the id to reconnect with (HTML standard, section 9.2.6: it counts without data, too)."""
        return b"retry: %d\nid: %s\n\n" % (retry, str(cursor).encode())

    def come_back(self, retry: int) -> bytes:
        """What a stream ends with, where the client is to come back after ``retry``
        milliseconds, whatever it was told before."""
        return b"retry: %d\n\n" % retry

    def refused(self, retry: int, error: ChatError) -> bytes:
        """The whole of a stream that is refused for now."""
        frame = ChatError(error.code, error.text).frame()
        return b"retry: %d\nevent: refused\ndata: %s\n\n" % (retry, dump(frame))


@implementer(IEncoding)
class ChunkedEncoding:
    """As ``inner``, each write in a chunk of its own (RFC 9112, section 7.1)."""

    def __init__(self, inner: IEncoding) -> None:
        self._inner = inner

    def encode(self, messages: Sequence[Message]) -> bytes:
        return chunk(self._inner.encode(messages))

    def event(self, frame: dict[str, Any]) -> bytes:
        return chunk(self._inner.event(frame))


def chunk(data: bytes) -> bytes:
    """``data``, which must not be empty, as a chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


WEBSOCKET = WebSocketEncoding()
LEGACY = LegacyEncoding()
EVENT_STREAM = EventStreamEncoding()
CHUNKED_EVENT_STREAM = ChunkedEncoding(EVENT_STREAM)
