"""What the head of a request must be before anything else is asked of it (RFC 9112)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted.web.http_headers import Headers

#: An absolute-form request target: what a client sends that takes the server for a proxy.
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
#: ``uri-host [":" port]`` (RFC 9110, section 7.2), by the characters it may have; it may be empty.
_HOST = re.compile(rb"(\[[0-9a-fA-F:.]*\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")
#: The segments of a path that are kept apart: more than any route has.
_SEGMENTS = 8


class BadHead(Exception):
    """The head is not one of an HTTP request; the text says why."""


def check_host(headers: Headers, version: bytes) -> None:
    """`BadHead` unless there is one Host, and a well-formed one (RFC 9112, section 3.2). HTTP/1.0
    knows none."""
    hosts: Sequence[bytes] = headers.getRawHeaders(b"host") or ()
    if not hosts and version != b"HTTP/1.0":
        raise BadHead("A request names its Host.")
    if len(hosts) > 1:
        raise BadHead("A request has one Host header.")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadHead("The Host header is a name or an address, and perhaps a port.")


def origin_form(target: bytes, headers: Headers) -> bytes:
    """``target`` as path and query. The authority of an absolute-form one takes the place of the
    Host header (RFC 9112, section 3.2.2)."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return target
    authority, rest = match[1], match[2]
    if not authority or not _HOST.fullmatch(authority):
        raise BadHead("The request target names no host.")
    headers.setRawHeaders(b"host", [authority])
    return rest if rest.startswith(b"/") else b"/" + rest


def segments(path: bytes) -> list[bytes]:
    """The parts of ``path`` between slashes, still encoded; the last holds what is too much."""
    return path[1:].split(b"/", _SEGMENTS)
