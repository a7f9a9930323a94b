"""The headers of answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from twisted.web.http import datetimeToString

#: What every answer says, unless it is one of the page's files: no cache keeps it for others, and
#: no browser takes it for something else than it is.
NOT_KEPT: Mapping[str, str] = {
    "Cache-Control": "no-store, no-transform",
    "X-Content-Type-Options": "nosniff",
}


def common_headers(type: str, seconds: int) -> dict[str, str]:
    """The headers that every answer has, in their order. ``type`` is the media type of its body,
    ``seconds`` the time of day (since the epoch)."""
    return {
        "Server": "chatd",  # without a version, which would help attackers only
        "Date": http_date(seconds),
        "Content-Type": type,
        **NOT_KEPT,
    }


@lru_cache(maxsize=1)
def http_date(seconds: int) -> str:
    """A time of day (since the epoch) as headers have it (RFC 9110, section 5.6.7)."""
    date: bytes = datetimeToString(seconds)
    return date.decode("ascii")


def success(headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole answer of status 200: what twisted.web would make of ``headers`` and ``body``."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    head = f"HTTP/1.1 200 OK\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body
