"""Messages: as a client publishes them, as records of a stream, and as readers get them (protocol,
section 1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from attrs import evolve, field, frozen

from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, Code, bad_request
from chatd.protocol.json import dump, load_object, quoted
from chatd.protocol.names import message_id, user_name
from chatd.protocol.timestamps import FIRST, LAST, format_time, parse_time

#: Bytes of UTF-8 of ``text`` and ``data`` together, at most.
CONTENT_BYTES = 64 * 1024
#: Levels of objects and arrays in ``data``, at most: far below the limit of Python's own JSON,
#: which depends on the depth of the call stack.
DATA_DEPTH = 100
#: A message's id is remembered while the message is among this many newest ones of its room.
WINDOW = 1000


@frozen
class Content:
    """The checked content of a message to be published. ``fresh``: the server made the id, so the
    message cannot be a repeat."""

    user: str
    id: str
    text: str
    data: dict[str, Any] | None = None
    fresh: bool = False

    def record(self, time: int) -> bytes:
        """The body of the record in the room's stream. ``time`` is in milliseconds since the
        epoch."""
        # as `dump` would write it, without the search for what each part is
        id, user, text = quoted(self.id), quoted(self.user), quoted(self.text)
        said = f'{{"id":{id},"user":{user},"text":{text},"time":"{format_time(time)}"'.encode()
        return said + (b"}" if self.data is None else b',"data":%s}' % dump(self.data))


def legacy_text(message: object) -> str:
    """Check the type of what a message of the original's form says, and return it. Raises
    `ChatError` bad_request."""
    if not isinstance(message, str):
        raise bad_request('Give the text as a string, called "message".')
    return message


def check_content(text: object, data: object, max_text: int) -> tuple[str, dict[str, Any] | None]:
    """Check the types and sizes of a message's ``text`` and ``data``; ``max_text`` is in bytes.
    Raises `ChatError` bad_request or too_large."""
    if not isinstance(text, str):
        raise bad_request("Give the text as a string.")
    if data is not None and not isinstance(data, dict):
        raise bad_request("Give data as a JSON object, or leave it out.")
    try:
        size = len(text.encode("utf-8"))
        more = dump(data) if data is not None else b""
    except (ValueError, RecursionError):
        raise bad_request("The text or data holds what UTF-8 JSON cannot carry.") from None
    if size > max_text:
        raise ChatError(Code.TOO_LARGE, f"A text is at most {max_text} bytes of UTF-8.")
    if size + len(more) > CONTENT_BYTES:
        raise ChatError(Code.TOO_LARGE, f"Text and data are at most {CONTENT_BYTES} bytes.")
    if more.count(b"{") + more.count(b"[") > DATA_DEPTH and _deep(data):
        raise bad_request(f"Data is nested at most {DATA_DEPTH} levels deep.")
    return text, data


#: Bytes that a record may have beside its text and data, at most, and a good many more.
_BESIDE = 4096
_WHITE = b" \t\n\r"


def says_too_much(body: bytes) -> bool:
    """Whether the JSON ``body`` of a record says more than text and data may have, found without
    parsing it: a megabyte takes 70 ms. Escapes count for the one byte that they may stand for, and
    white space for nothing, so that nothing valid is longer however it is written; but fields that
    nobody knows count, too."""
    if len(body) <= CONTENT_BYTES:
        return False
    written = body.translate(None, _WHITE).replace(b"\\\\", b"-")
    escapes, long = written.count(b"\\"), written.count(b"\\u")
    return len(written) - escapes - 4 * long > CONTENT_BYTES + _BESIDE


def _deep(data: object) -> bool:
    """Whether ``data`` is nested deeper than `DATA_DEPTH`."""
    layer: list[Any] = [data]
    for _ in range(DATA_DEPTH):
        inner = [v for one in layer for v in (one.values() if isinstance(one, dict) else one)]
        layer = [value for value in inner if isinstance(value, dict | list)]
    return bool(layer)


class Claim(NamedTuple):
    """The ``time`` (milliseconds since the epoch) in a record, and whether the record is
    ``foreign``: by another program."""

    time: int
    foreign: bool = False


@frozen(eq=False)
class Message:
    """One message of a room, as every transport shows it.

    ``time`` is in milliseconds since the epoch. ``json`` is the message object of the protocol,
    encoded once for all readers. ``dated``: the record has this time. ``foreign``: another program
    wrote the record.
    """

    cursor: Cursor
    id: str
    user: str
    text: str
    time: int
    json: bytes = field(repr=False)
    dated: bool = True
    foreign: bool = False

    def at(self, time: int) -> Message:
        """The message as it is shown with ``time``: itself if the record has that time."""
        if self.dated and self.time == time:
            return self
        value = load_object(self.json)
        value["time"] = format_time(time)
        return evolve(self, time=time, json=dump(value), dated=False)

    def expired(self, oldest: int) -> bool:
        """Whether the message is from before ``oldest`` (milliseconds). One that is not dated does
        not expire here; the broker removes it by the time when it was stored."""
        return self.dated and self.time < oldest

    @property
    def claim(self) -> Claim | None:
        """The time in the record, None if it has none."""
        return Claim(self.time, self.foreign) if self.dated else None

    @property
    def offset(self) -> int:
        return self.cursor.offset

    @property
    def key(self) -> int:
        """The deduplication key: messages with the same user and id have the same key."""
        return content_key(self.user, self.id)


#: The key by which messages are ordered and searched.
by_offset: Callable[[Message], int] = attrgetter("cursor.offset")


def content_key(user: str, id: str) -> int:
    """A 64-bit hash of (user, id). It is keyed anew in each process (SipHash), so that nobody can
    provoke collisions; never store it."""
    return hash((user, id))


def own_message(room: str, cursor: Cursor, body: bytes, content: Content, time: int) -> Message:
    """What `read_message` makes of the ``body`` that `Content.record` wrote for ``time``."""
    shown = _shown(room, cursor, body)
    return Message(cursor, content.id, content.user, content.text, time, shown)


def _shown(room: str, cursor: Cursor, body: bytes) -> bytes:
    """The message object of the protocol; ``body`` is as `Content.record` writes it."""
    # room names and cursors need no escapes in JSON
    return f'{{"type":"message","room":"{room}","cursor":"{cursor}",'.encode() + body[1:]


class BadRecord(Exception):
    """The record is not a message; the text says why."""


def read_message(room: str, cursor: Cursor, body: bytes, foreign: bool = False) -> Message:
    """Parse the body of a record, ``foreign`` if another program wrote it. A message without a time
    is not `Message.dated`, and must be given one by `Message.at`. Raises `BadRecord`."""
    try:
        value = load_object(body)
        id = message_id(value.get("id"))
        user = user_name(value.get("user"))
        text, data = check_content(value.get("text"), value.get("data"), CONTENT_BYTES)
        dated = value.get("time") is not None
        time = parse_time(value["time"]) if dated else 0
    except ChatError as e:
        raise BadRecord(e.text) from None
    if dated and not FIRST <= time <= LAST:
        raise BadRecord("Its time is in no year that can be written.")
    if not _is_as_written(body, value, id, user, text):
        body = Content(user, id, text, data).record(time)
    return Message(cursor, id, user, text, time, _shown(room, cursor, body), dated, foreign)


#: The fields and the punctuation that `Content.record` writes for a message without ``data``.
_FIELDS = ["id", "user", "text", "time"]
_FRAME = len('{"id":"","user":"","text":"","time":""}')
_WRITTEN_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z", re.ASCII
)


def _is_as_written(body: bytes, value: dict[str, Any], id: str, user: str, text: str) -> bool:
    """Whether ``body``, whose value is ``value``, is byte for byte what `Content.record` would
    write, so that it need not be encoded again. There is no shorter JSON for the same value, so
    the length decides, except for a name, which in NFC may be as long. A body with ``data``, or
    with rare control characters, is not recognised."""
    if list(value) != _FIELDS or not _WRITTEN_TIME.fullmatch(value["time"]):
        return False
    if value["user"] != user:
        return False
    said = f"{id}{user}{text}"
    escaped = said.count('"') + said.count("\\") + said.count("\n")
    return len(body) == _FRAME + len(value["time"]) + len(said.encode()) + escaped
