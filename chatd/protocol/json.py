"""Reading JSON objects, and writing compact JSON (RFC 8259)."""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, NoReturn

from chatd.protocol.errors import bad_request

#: The byte order mark in UTF-8. Some programs and editors begin a text with it, and a receiver may
#: ignore it (RFC 8259, section 8.1).
MARK = b"\xef\xbb\xbf"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)


def load(raw: bytes | str) -> Any:
    """Parse one JSON value in UTF-8, without NaN and infinities. Raises ValueError for anything
    else, deep nesting and integers of thousands of digits included."""
    text = (raw if isinstance(raw, str) else raw.decode("utf-8")).strip(" \t\n\r")
    try:
        value, end = _decoder.raw_decode(text)
    except RecursionError:
        raise ValueError("It is nested too deep.") from None
    if end != len(text):
        raise ValueError("It is more than one value.")
    return value


def load_object(raw: bytes | str) -> dict[str, Any]:
    """Parse one JSON object, as `load` does. Raises `ChatError` bad_request for anything else."""
    try:
        value = load(raw)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise bad_request("Send one JSON object, in UTF-8.")
    return value


def load_sent(raw: bytes) -> dict[str, Any]:
    """As `load_object`, for what a client has sent, perhaps out of a file: with a `MARK` or
    without."""
    return load_object(raw.removeprefix(MARK))


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


#: A text as a JSON string, as `dump` writes it.
quoted: Callable[[str], str] = encode_basestring


def dump(value: Any) -> bytes:
    """Write ``value`` as compact JSON in UTF-8. Raises ValueError for NaN, infinities and lone
    surrogates."""
    return _encoder.encode(value).encode("utf-8")
