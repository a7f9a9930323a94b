"""One JSON object in, compact JSON out (RFC 8259)."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from chatd.protocol.errors import bad_request


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
