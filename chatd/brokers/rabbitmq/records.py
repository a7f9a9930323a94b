"""Records on RabbitMQ: their properties, and other programs' messages as records.

chatd's own records are used as they are. Messages of other programs (protocol, "AMQP") are
converted to the same form, and so are those that only look like chatd's by their properties: what
is too long is refused before it is parsed, and many are converted in slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

from chatd.amqp.codec import ProtocolError, encode_properties
from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import Record, Stream
from chatd.protocol.errors import ChatError
from chatd.protocol.json import dump, load_object
from chatd.protocol.messages import CONTENT_BYTES, says_too_much
from chatd.protocol.names import message_id, user_name
from chatd.protocol.timestamps import format_time
from chatd.telemetry.tracing import TRACE

_ELSEWHERE = "It was published to another room."
_LONG_TEXT = f"A text is at most {CONTENT_BYTES} bytes of UTF-8."
_LONG_CONTENT = f"Text and data are at most {CONTENT_BYTES} bytes."
_UNWRITABLE = "The text or data holds what UTF-8 JSON cannot carry."
#: Deliveries, and bytes of their bodies and properties, that are converted and read in one turn of
#: the reactor: at worst some ten milliseconds' work, mostly two. What comes in one read from the
#: broker is no more.
SLICE, SLICE_BYTES = 256, 64 * 1024
#: Bytes of properties that take no time worth counting.
FEW = 512

_FENCE_TYPE = "chatd.fence"
#: The properties of a fence: an empty record by chatd that readers never see.
_FENCE = {"delivery-mode": 2, "type": _FENCE_TYPE, "app-id": "chatd"}
FENCE = encode_properties(_FENCE)

#: How `chatd.protocol.messages.Content.record` begins, goes on after the id, of which each
#: character may be escaped, and ends the text.
_ID, _USER, _AT = b'{"id":"', b'","user":"', b'","time":"'
_ID_BYTES = 2 * 64

_JSON = b"\x10application/json"
_OWN = b"\x05chatd"
# flags: content-type, delivery-mode, message-id, timestamp, app-id
_HEAD = Struct("!H17sBB").pack
_FLAGS = 1 << 15 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 3
_TIME = Struct("!Q").pack
# with a table of headers between content-type and delivery-mode: one long string
_HEADERS = 1 << 13
_TRACED = Struct("!H17s").pack
_TRACE_KEY = b"\x0btraceparentS"
_SIZE = Struct("!I").pack


def publish_properties(id: str, time: int) -> bytes:
    """The encoded properties of a record by chatd. ``time`` is in milliseconds; AMQP's timestamp
    has seconds only. The header ``traceparent`` is that of the request, if there is one."""
    message, trace = id.encode(), TRACE.get()
    if trace:
        value = trace.encode("ascii")
        size = len(_TRACE_KEY) + 4 + len(value)
        table = b"".join([_SIZE(size), _TRACE_KEY, _SIZE(len(value)), value])
        head = b"".join([_TRACED(_FLAGS | _HEADERS, _JSON), table, bytes([2, len(message)])])
    else:
        head = _HEAD(_FLAGS, _JSON, 2, len(message))
    return b"".join([head, message, _TIME(time // 1000), _OWN])


def barrier_properties(name: str) -> bytes:
    """The properties of a barrier, a fence that has a name (`chatd.brokers.rabbitmq.barriers`)."""
    return encode_properties({**_FENCE, "message-id": name})


def records(batch: Sequence[Delivery], stream: Stream) -> list[Record]:
    """The records in a batch of deliveries of ``stream``, without fences.

    A record with another routing key got here by a ``CC`` or ``BCC`` header, for which RabbitMQ
    checks no permission (https://www.rabbitmq.com/access-control.html#topic-authorisation). It is
    marked as faulty.
    """
    key = (stream.room or stream.name).encode()
    return [
        Record(one.offset, b"", _ELSEWHERE) if one.key != key else _record(one, stream)
        for one in batch
        if one.body or not is_fence(one)  # a body tells without a call
    ]


def slices(batch: Sequence[Delivery]) -> list[Sequence[Delivery]]:
    """``batch`` in slices: as much as `SLICE` and `SLICE_BYTES` say, or one delivery that is
    larger."""
    parts: list[Sequence[Delivery]] = []
    begin = size = 0
    for at, one in enumerate(batch):
        size += (more := weight(one))
        if at > begin and (at - begin == SLICE or size > SLICE_BYTES):
            parts.append(batch[begin:at])
            begin, size = at, more
    parts.append(batch[begin:])
    return parts


def weight(delivery: Delivery) -> int:
    """What counts for `SLICE_BYTES`. To decode properties takes several times as long as to parse a
    body; those of most records are few, and chatd's own are not decoded."""
    properties = len(delivery.raw)
    return len(delivery.body) + (properties if properties <= FEW else 8 * properties)


def _record(delivery: Delivery, stream: Stream) -> Record:
    if len(delivery.body) > CONTENT_BYTES and (fault := _too_long(delivery)):
        return Record(delivery.offset, b"", fault)
    if is_own(delivery) and (not stream.room or _is_complete(delivery.body)):
        return Record(delivery.offset, delivery.body)
    try:
        return Record(delivery.offset, normalised(delivery), foreign=True)
    except ProtocolError as e:
        return Record(delivery.offset, b"", f"Its properties cannot be read: {e}.")
    except (ValueError, RecursionError):
        return Record(delivery.offset, b"", _UNWRITABLE)


def _too_long(delivery: Delivery) -> str:
    """Why a body of more than `CONTENT_BYTES` cannot be a message; "" if it can."""
    kind = _JSON.decode() if is_own(delivery) else _kind(delivery)
    if kind is not None and "json" not in kind:
        opens = delivery.body.lstrip().startswith(b"{")
        if kind.startswith("text/") or not opens:
            return _LONG_TEXT
    return _LONG_CONTENT if says_too_much(delivery.body) else ""


def _kind(delivery: Delivery) -> str | None:
    """The content type, "" if there is none; None if the properties cannot be decoded."""
    try:
        return str(delivery.properties().get("content-type", "")).lower()
    except ProtocolError:
        return None


def is_own(delivery: Delivery) -> bool:
    """Whether a chatd node wrote it. Another program can forge this; readers check the body."""
    raw = delivery.raw
    return raw.endswith(_OWN) and raw.startswith(_JSON, 2)


def _is_complete(body: bytes) -> bool:
    """Whether the body of a room's record says all that its properties might say otherwise. What
    chatd writes is recognised without parsing it: no string in JSON holds a bare quote."""
    end = len(_ID) + _ID_BYTES
    if body.startswith(_ID) and body.find(_USER, len(_ID), end + len(_USER)) > 0 and _AT in body:
        return True
    try:
        value = load_object(body)
    except ChatError:
        return True  # there is nothing to add to
    return all(value.get(name) is not None for name in ("id", "user", "time"))


def is_fence(delivery: Delivery) -> bool:
    """Whether it is a fence, which has no body; see `chatd.brokers.rabbitmq.consumer`."""
    try:
        return not delivery.body and delivery.properties().get("type") == _FENCE_TYPE
    except ProtocolError:
        return False


def normalised(delivery: Delivery) -> bytes:
    """The body of a record for another program's message. The body is returned unchanged if it
    cannot be converted; the room then skips, counts and logs it. Raises `ProtocolError` if the
    properties cannot be read, ValueError or RecursionError for what can be read and not be written.
    """
    properties = delivery.properties()
    kind = str(properties.get("content-type", "")).lower()
    try:
        body = None if kind.startswith("text/") else load_object(delivery.body)
    except ChatError:
        if "json" in kind:
            return delivery.body
        body = None
    if body is None:
        try:
            body = {"text": delivery.body.decode("utf-8")}
        except UnicodeDecodeError:
            return delivery.body
    return dump(_completed(body, properties, delivery.offset))


def _completed(body: dict[str, Any], properties: dict[str, Any], offset: int) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "id": _id(properties.get("message-id"), offset),
        "user": _user(properties),
        "text": None,
    }
    time = _time(properties.get("timestamp"))
    if time is not None:
        parts["time"] = time
    given = (*parts, "time", "data")
    return parts | {name: body[name] for name in given if body.get(name) is not None}


def _id(value: object, offset: int) -> str:
    try:
        return message_id(value)
    except ChatError:
        return f"amqp-{offset}"


def _user(properties: dict[str, Any]) -> str:
    headers = properties.get("headers") or {}
    for value in (headers.get("user"), properties.get("app-id")):
        try:
            return user_name(value)
        except ChatError:
            continue
    return "amqp"


def _time(seconds: object) -> str | None:
    """An AMQP timestamp in RFC 3339; None for 0, which means none, and if it is out of range."""
    if not isinstance(seconds, int) or not seconds:
        return None
    try:
        return format_time(seconds * 1000)
    except (ValueError, OverflowError, OSError):
        return None
