"""What the head of a request must be before anything else is asked of it (RFC 9112)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from twisted.web.http_headers import Headers

from chatd.protocol.errors import Code
from chatd.protocol.json import dump

#: An absolute-form request target: what a client sends that takes the server for a proxy.
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
#: ``uri-host [":" port]`` (RFC 9110, section 7.2), by the characters it may have; it may be empty.
_HOST = re.compile(rb"(\[[0-9a-fA-F:.]*\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")
#: Bytes of a head that is too long, or wrong, that are looked through for the Origin.
READ_ON = 64 * 1024
_ORIGIN = re.compile(rb"\norigin:([^\r\n]*)\r?\n", re.IGNORECASE)
_END = re.compile(rb"\n\r?\n")
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


class RestOfHead:
    """What comes of a head after it was found wrong. It is read only for the Origin: a page can
    read no answer that does not name it."""

    def __init__(self) -> None:
        #: The Origin, once the head is here, if there is one.
        self.origin: bytes | None = None
        self._text = b"\n"

    def feed(self, data: bytes) -> bool:
        """Add what has come; whether the head is at its end, or longer than it is worth."""
        self._text += data
        end = _END.search(self._text)
        if end is None and len(self._text) <= READ_ON:
            return False
        found = _ORIGIN.search(self._text, 0, end.end() if end is not None else len(self._text))
        self.origin = found[1].strip() if found is not None else None
        return True


def refusal(status: int, code: Code, text: str, more: Mapping[str, str]) -> bytes:
    """The answer to what cannot be a request; ``more`` are headers."""
    body = dump({"type": "error", "code": code.word, "text": text}) + b"\n"
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Connection": "close",
        "Content-Length": str(len(body)),
        **more,
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
