"""Checking the head of a request (RFC 9112)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from twisted.web.http_headers import Headers

from chatd.protocol.errors import Code
from chatd.protocol.json import dump
from chatd.transports.http.response_headers import NOT_KEPT

#: An absolute-form request target, as sent to proxies.
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
#: What is said of a target of another form.
NO_TARGET = "The request target is a path that begins with /."
#: ``uri-host [":" port]`` (RFC 9110, section 7.2), which may be empty.
_HOST = re.compile(rb"(\[[0-9a-fA-F:.]*\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")
#: Digits of a Content-Length; Python refuses to read thousands.
LENGTH_DIGITS = 18
#: Bytes of a malformed or too long head that are searched for the Origin.
READ_ON = 64 * 1024
_ORIGIN = re.compile(rb"\norigin:([^\r\n]*)\r?\n", re.IGNORECASE)
_END = re.compile(rb"\n\r?\n")
_END_BYTES = 3
#: Segments into which a path is split, at most: more than any route has.
_SEGMENTS = 8


#: What is said to who speaks TLS where there is none. Without an answer browsers and other clients
#: would wait, and not try, or tell, what is wrong.
NO_TLS = "This port speaks no TLS: ask by http:// or ws://."
#: The reverse.
TLS_ONLY = "This port speaks TLS: ask by https:// or wss://."


class BadHead(Exception):
    """The head of a request is malformed; the text says why."""


def is_tls(data: bytes) -> bool:
    """Whether ``data`` begins a TLS handshake (RFC 8446, section 5.1), and so no request."""
    return data.startswith(b"\x16\x03")


def check_host(hosts: Sequence[bytes], version: bytes) -> None:
    """Raise `BadHead` unless ``hosts``, the values of the Host headers, are one that is well-formed
    (RFC 9112, section 3.2). HTTP/1.0 may have none."""
    if not hosts and version != b"HTTP/1.0":
        raise BadHead("A request names its Host.")
    if len(hosts) > 1:
        raise BadHead("A request has one Host header.")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadHead("The Host header is a name or an address, and perhaps a port.")


def asks_to_close(connection: Sequence[bytes]) -> bool:
    """Whether ``close`` is among the options of the Connection headers (RFC 9112, section 9.6): the
    client waits for the connection's end. twisted.web looks at the first header alone, and takes
    ``close,`` for another word."""
    return has_option(connection, b"close")


def has_option(values: Sequence[bytes], option: bytes) -> bool:
    """Whether ``option``, in lower case, is among the members of the lists in ``values``, those of
    the headers of one name (RFC 9110, section 5.6.1)."""
    members = b",".join(values).lower().split(b",")
    return any(member.strip(b" \t") == option for member in members)


def frames_well(name: bytes, value: bytes, version: bytes) -> bool:
    """Whether a header with the canonical ``name`` leaves no doubt where the body ends: of the
    codings ``chunked`` alone will do, and in HTTP/1.0 none (RFC 9112, sections 6.1 and 6.3).
    twisted.web ignores ``identity``, which a proxy may take for a body up to the connection's end.
    """
    if name == b"Transfer-Encoding":
        return value.lower() == b"chunked" and version != b"HTTP/1.0"
    return name != b"Content-Length" or len(value) <= LENGTH_DIGITS


def origin_form(method: bytes, target: bytes, headers: Headers) -> bytes:
    """The path and query of ``target``; ``*`` of OPTIONS is left as it is. The authority of an
    absolute-form target replaces the Host header (RFC 9112, section 3.2). Raises `BadHead`."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        if not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
            raise BadHead(NO_TARGET)
        return target
    authority, path = authority_and_path(match)
    headers.setRawHeaders(b"host", [authority])
    return path


def authority_and_path(url: re.Match[bytes]) -> tuple[bytes, bytes]:
    """The authority, and the path and query, of a ``url`` whose groups are the authority and what
    follows it. Raises `BadHead` for one that names no host."""
    authority, rest = url[1], url[2]
    if not authority or not _HOST.fullmatch(authority):
        raise BadHead("The request target names no host.")
    return authority, rest if rest.startswith(b"/") else b"/" + rest


def joined(headers: Headers) -> dict[str, str]:
    """All headers by name, in lower case."""
    return {
        name.decode("latin-1").lower(): one_value(values)
        for name, values in headers.getAllRawHeaders()
    }


def one_value(values: Sequence[bytes]) -> str:
    """The values of one header, decoded and joined by commas."""
    return b", ".join(values).decode("latin-1")


def segments(path: bytes) -> list[bytes]:
    """Split ``path`` at slashes, still percent-encoded; beyond the limit the last part is not
    split."""
    return path[1:].split(b"/", _SEGMENTS)


class RestOfHead:
    """The rest of a malformed head, read only to find the Origin: without its CORS headers a page
    could not read the answer."""

    def __init__(self) -> None:
        #: The Origin, if there is one and the head is complete.
        self.origin: bytes | None = None
        self._text = bytearray(b"\n")

    def __len__(self) -> int:
        return len(self._text)

    def feed(self, data: bytes) -> bool:
        """Add received bytes; whether the head is complete, or too long to be read on."""
        searched = max(0, len(self._text) - _END_BYTES + 1)
        self._text += data
        end = _END.search(self._text, searched)
        if end is None and len(self._text) <= READ_ON:
            return False
        found = _ORIGIN.search(self._text, 0, end.end() if end is not None else len(self._text))
        self.origin = bytes(found[1]).strip() if found is not None else None
        return True


def refusal(status: int, code: Code, text: str, more: Mapping[str, str]) -> bytes:
    """The response to a malformed request; ``more`` are further headers."""
    body = dump({"type": "error", "code": code.word, "text": text}) + b"\n"
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        **NOT_KEPT,
        "Connection": "close",
        "Content-Length": str(len(body)),
        **more,
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
