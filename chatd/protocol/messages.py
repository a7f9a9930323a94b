"""The vocabulary of the wire: names, cursors, messages, error codes, and their JSON. Pure.

Everything here is documented in ``docs/protocol.rst``; limits are stated beside their names.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NoReturn

from attrs import field, frozen

ROOM_CHARACTERS = 100
ROOM_BYTES = 200
USER_CHARACTERS = 64
#: ``text`` and ``data`` together, in bytes of UTF-8.
CONTENT_BYTES = 64 * 1024
#: Objects and arrays within one another in ``data``: far from where Python's own JSON gives up,
#: which depends on who calls it.
DATA_DEPTH = 100
#: How many of a room's newest messages an id is remembered for.
WINDOW = 1000

_ID = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)
_CURSOR = re.compile(r"([0-9A-Za-z]{1,32}):(-1|[0-9]{1,18})", re.ASCII)


class Code(Enum):
    """The error codes of the protocol, each with its HTTP status."""

    BAD_REQUEST = ("bad_request", 400)
    UNAUTHORIZED = ("unauthorized", 401)
    FORBIDDEN = ("forbidden", 403)
    UNKNOWN_ROOM = ("unknown_room", 404)
    NOT_JOINED = ("not_joined", 409)
    TOO_LARGE = ("too_large", 413)
    RATE_LIMITED = ("rate_limited", 429)
    UNAVAILABLE = ("unavailable", 503)

    def __init__(self, word: str, http: int) -> None:
        self.word = word
        self.http = http


class ChatError(Exception):
    """A request refused. ``text`` says what to do; ``retry`` is seconds for ``Retry-After``."""

    def __init__(
        self,
        code: Code,
        text: str,
        *,
        room: str | None = None,
        id: str | None = None,
        retry: int | None = None,
    ) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.room = room
        self.id = id
        self.retry = retry

    def about(self, room: str | None = None, id: str | None = None) -> ChatError:
        """The same error, naming the room and the message id it is about."""
        return ChatError(self.code, self.text, room=room, id=id, retry=self.retry)

    def frame(self) -> dict[str, Any]:
        """The error as a WebSocket frame."""
        frame: dict[str, Any] = {"type": "error", "code": self.code.word, "text": self.text}
        if self.room is not None:
            frame["room"] = self.room
        if self.id is not None:
            frame["id"] = self.id
        return frame

    def line(self) -> str:
        """The error as the legacy ports say it: ``404 unknown_room: ...`` without the number."""
        return f"{self.code.word}: {self.text}"


def bad_request(text: str) -> ChatError:
    """A `ChatError` for input that the contract does not allow."""
    return ChatError(Code.BAD_REQUEST, text)


# -- JSON ------------------------------------------------------------------------------------------


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)


def load_object(raw: bytes | str) -> dict[str, Any]:
    """Parse one JSON object (RFC 8259: UTF-8, no NaN); `ChatError` bad_request for anything else.

    Deep nesting and integers of thousands of digits are refused rather than allowed to raise.
    """
    try:
        value = _decoder.decode(raw if isinstance(raw, str) else raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise bad_request("Send one JSON object, in UTF-8.") from None
    if not isinstance(value, dict):
        raise bad_request('Send a JSON object, such as {"type":"join","room":"lobby"}.')
    return value


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dump(value: Any) -> bytes:
    """``value`` as compact JSON in UTF-8. ValueError if it holds what JSON or UTF-8 cannot."""
    return _encoder.encode(value).encode("utf-8")


# -- names and ids ---------------------------------------------------------------------------------


def _name(value: object, what: str, extra: str, characters: int, legacy: bool) -> str:
    if not isinstance(value, str) or not value:
        raise bad_request(f"Give {what} as a string.")
    if len(value) > 4 * characters:
        raise bad_request(f"{what} is longer than {characters} characters.")
    name = unicodedata.normalize("NFC", value)
    if legacy:
        name = name.replace(" ", "_")
    if len(name) > characters:
        raise bad_request(f"{what} is longer than {characters} characters.")
    for c in name:
        if c not in extra and unicodedata.category(c) not in _WORD:
            raise bad_request(f"{what} may hold letters, digits and {' '.join(extra)} only.")
    return name


_WORD = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd"})


def room_name(value: object, legacy: bool = False) -> str:
    """A room's name in NFC; ``legacy`` turns spaces into ``_``, as the original did."""
    name = _name(value, "The room name", "_.:@-", ROOM_CHARACTERS, legacy)
    if len(name.encode("utf-8")) > ROOM_BYTES:
        raise bad_request(f"The room name is longer than {ROOM_BYTES} bytes.")
    return name


def user_name(value: object, legacy: bool = False) -> str:
    """A user's name in NFC."""
    return _name(value, "The user name", "_.:@-+", USER_CHARACTERS, legacy)


def message_id(value: object) -> str:
    """An idempotency key: 1 to 64 ASCII characters from 0x21 to 0x7E."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise bad_request("An id is 1 to 64 printable ASCII characters without spaces.")
    return value


# -- time ------------------------------------------------------------------------------------------


def format_time(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 UTC, such as ``2026-11-01T12:00:00.000Z``."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19]}.{ms % 1000:03d}Z"


def parse_time(value: object) -> int:
    """RFC 3339 to milliseconds since the epoch; a zone is required."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            # a "+" of the zone that a URL turned into a space
            moment = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
            if moment.tzinfo is not None:
                ms = round(moment.timestamp() * 1000)
                format_time(ms)  # a zone may lead out of the years that can be written
                return ms
        except (ValueError, OverflowError):
            pass
    raise bad_request("A time is RFC 3339 with a zone, such as 2026-11-01T12:00:00.000Z.")


# -- cursors and messages --------------------------------------------------------------------------


@frozen
class Cursor:
    """A place in one life of a room: after the record at ``offset``; -1 is before the first."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, value: object) -> Cursor:
        """Read a cursor a client sent back; bad_request if chatd cannot have made it."""
        match = _CURSOR.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise bad_request("That is not a cursor; pass one back as you received it.")
        return cls(match[1], int(match[2]))


@frozen
class Content:
    """What a client publishes, checked: the part of a message that is its sender's."""

    user: str
    id: str
    text: str
    data: dict[str, Any] | None = None

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
    made once and shared by all who receive it.
    """

    cursor: Cursor
    id: str
    user: str
    text: str
    time: int
    json: bytes = field(repr=False)

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
    """Turn a record of a room's stream into the message that everyone sees. Raises `BadRecord`."""
    try:
        value = load_object(body)
        id = message_id(value.get("id"))
        user = user_name(value.get("user"))
        text, data = check_content(value.get("text"), value.get("data"), CONTENT_BYTES)
        time = parse_time(value.get("time"))
    except ChatError as e:
        raise BadRecord(e.text) from None
    shown: dict[str, Any] = {
        "type": "message",
        "room": room,
        "cursor": str(cursor),
        "id": id,
        "user": user,
        "text": text,
        "time": format_time(time),
    }
    if data is not None:
        shown["data"] = data
    return Message(cursor, id, user, text, time, dump(shown))
