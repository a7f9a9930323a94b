"""The head of a handshake is judged as strictly on the WebSocket port as on the HTTP port.

Autobahn takes much of what RFC 9112 forbids, in which a proxy in front may see another request.
"""

from __future__ import annotations

import re

from twisted.web.http_headers import Headers

from chatd.transports.http.head import BadHead, check_host

_REQUEST = re.compile(rb"[!-~]+ [!-~]+ HTTP/[0-9]\.[0-9]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r\n]*)")


def check_head(head: bytes) -> None:
    """`BadHead` unless ``head``, without the empty line at its end, is well-formed, names one Host
    and says of no body (RFC 9112, sections 2.2, 3.2, 5.1, 5.2 and 6.3)."""
    request, *lines = head.split(b"\r\n")
    fields = [_FIELD.fullmatch(line) for line in lines]
    if not _REQUEST.fullmatch(request) or not all(fields):
        raise BadHead("That is not an HTTP request.")
    headers = Headers()
    for field in filter(None, fields):
        headers.addRawHeader(field[1], field[2].strip())
    check_host(headers, request.rpartition(b" ")[2])
    length = headers.getRawHeaders(b"content-length", [b"0"])
    if headers.hasHeader(b"transfer-encoding") or set(length) != {b"0"}:
        raise BadHead("A WebSocket's handshake has no body.")
