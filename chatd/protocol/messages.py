"""Messages: what a client publishes, what a stream keeps, what everyone is shown (protocol,
section 1)."""

from __future__ import annotations

import re
from typing import Any

from attrs import evolve, field, frozen

from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, Code, bad_request
from chatd.protocol.json import dump, load_object
from chatd.protocol.names import message_id, user_name
from chatd.protocol.timestamps import FIRST, LAST, format_time, parse_time

#: ``text`` and ``data`` together, in bytes of UTF-8.
CONTENT_BYTES = 64 * 1024
#: Objects and arrays within one another in ``data``: far from where Python's own JSON gives up,
#: which depends on who calls it.
DATA_DEPTH = 100
#: How many of a room's newest messages an id is remembered for.
WINDOW = 1000


@frozen
class Content:
    """What a client publishes, checked: the part of a message that is its sender's.

    ``fresh`` says that the server made the id for it, so that it repeats nothing.
    """

    user: str
    id: str
    text: str
    data: dict[str, Any] | None = None
    fresh: bool = False

    def record(self, time: int) -> bytes:
        """The body of the record in the room's stream."""
        body: dict[str, Any] = {
            "id": self.id,
            "user": self.user,
            "text": self.text,
            "time": format_time(time),
        }
        if self.data is not None:
            body["data"] = self.data
        return dump(body)


def check_content(text: object, data: object, max_text: int) -> tuple[str, dict[str, Any] | None]:
    """Check a message's ``text`` and ``data`` against the contract's types and sizes (bytes)."""
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


def _deep(data: object) -> bool:
    """Whether ``data`` is nested deeper than `DATA_DEPTH`."""
    layer: list[Any] = [data]
    for _ in range(DATA_DEPTH):
        inner = [v for one in layer for v in (one.values() if isinstance(one, dict) else one)]
        layer = [value for value in inner if isinstance(value, dict | list)]
    return bool(layer)


@frozen(eq=False)
class Message:
    """One message of a room, as every transport shows it.

    ``time`` is in milliseconds since the epoch. ``json`` is the message object of the protocol,
    made once and shared by all who receive it. ``dated`` says that its record carries the time.
    """

    cursor: Cursor
    id: str
    user: str
    text: str
    time: int
    json: bytes = field(repr=False)
    dated: bool = True

    def at(self, time: int) -> Message:
        """The same, shown with another time than its record carries."""
        value = load_object(self.json)
        value["time"] = format_time(time)
        return evolve(self, time=time, json=dump(value), dated=False)

    def expired(self, oldest: int) -> bool:
        """Whether it is from before ``oldest``. What is not dated is kept for as long as the broker
        keeps it, which counts from when it was stored."""
        return self.dated and self.time < oldest

    @property
    def claim(self) -> int | None:
        """The time that its record carries, None if it carries none."""
        return self.time if self.dated else None

    @property
    def offset(self) -> int:
        return self.cursor.offset

    @property
    def key(self) -> int:
        """What makes it a repetition of another one: the same user and id."""
        return content_key(self.user, self.id)


def content_key(user: str, id: str) -> int:
    """A 64-bit fingerprint of (user, id); keyed anew in each process (SipHash), so not to be
    provoked, and used in memory only."""
    return hash((user, id))


class BadRecord(Exception):
    """A record that is not a message; it is skipped, counted and logged."""


def read_message(room: str, cursor: Cursor, body: bytes) -> Message:
    """Turn a record of a room's stream into the message that everyone sees. One without a time has
    to be given one. Raises `BadRecord`."""
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
    # neither a room's name nor a cursor holds what JSON escapes
    head = f'{{"type":"message","room":"{room}","cursor":"{cursor}",'.encode()
    if not _is_as_written(body, value, id, user, text):
        body = Content(user, id, text, data).record(time)
    return Message(cursor, id, user, text, time, head + body[1:], dated)


#: What `Content.record` writes beside the values of a message without ``data``.
_FIELDS = ["id", "user", "text", "time"]
_FRAME = len('{"id":"","user":"","text":"","time":""}')
_WRITTEN_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z", re.ASCII
)


def _is_as_written(body: bytes, value: dict[str, Any], id: str, user: str, text: str) -> bool:
    """Whether ``body``, parsed to ``value`` and checked, is what `Content.record` makes of it, byte
    for byte. JSON has no shorter way to write the same, so its length tells; a text with rare
    control characters, or ``data``, is not recognised, and written anew."""
    if list(value) != _FIELDS or not _WRITTEN_TIME.fullmatch(value["time"]):
        return False
    said = f"{id}{user}{text}"
    escaped = said.count('"') + said.count("\\") + said.count("\n")
    return len(body) == _FRAME + len(value["time"]) + len(said.encode()) + escaped
