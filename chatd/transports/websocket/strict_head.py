"""The head of a handshake, judged as strictly on the WebSocket port as on the HTTP port.

Autobahn takes much of what RFC 9112 forbids, in which a proxy in front may see another request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

from chatd.transports.http.head import NO_TARGET, BadHead, authority_and_path, check_host

_HEAD = re.compile(
    rb"[!-~]+ [!-~]+ HTTP/[0-9]\.[0-9]"
    rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*)*"
)
#: A whole URL, which may stand in place of a path (RFC 6455, section 4.2.1).
_URL = re.compile(rb"(?:http|ws)s?://([^/?#]*)([^#]*)", re.IGNORECASE)
_EXTENSIONS = b"sec-websocket-extensions"
_ORIGIN = b"origin"


def asks_for_websocket(version: str, upgrade: str | None) -> bool:
    """Whether a request with this HTTP ``version`` and Upgrade header (a list) asks for WebSocket.
    An Upgrade over HTTP/1.0 is ignored (RFC 9110, section 7.8)."""
    offered = [protocol.strip().lower() for protocol in (upgrade or "").split(",")]
    return version == "HTTP/1.1" and "websocket" in offered


@frozen
class HandshakeHead:
    """The head of a request, without the empty line at its end: the request line, and the name, in
    lower case, and the value of each line below it, well-formed or not."""

    request: bytes
    lines: Sequence[bytes]
    fields: Sequence[tuple[bytes, bytes]]

    @classmethod
    def read(cls, head: bytes) -> HandshakeHead:
        """Take ``head`` apart."""
        request, *lines = head.split(b"\r\n")
        parts = [line.partition(b":") for line in lines]
        return cls(request, lines, [(name.strip().lower(), value) for name, _, value in parts])

    def values(self, name: bytes) -> list[bytes]:
        """The values of the lines with this name (in lower case)."""
        return [value.strip() for known, value in self.fields if known == name]

    @property
    def method(self) -> bytes:
        """The method."""
        return self.request.partition(b" ")[0]

    @property
    def is_plain_get(self) -> bool:
        """Whether it is a GET in HTTP/1 that does not ask for WebSocket."""
        version = self.request.rpartition(b" ")[2]
        if self.method != b"GET" or version not in (b"HTTP/1.0", b"HTTP/1.1"):
            return False
        upgrade = b",".join(self.values(b"upgrade")).decode("latin-1")
        return not asks_for_websocket(version.decode(), upgrade)

    def check(self, head: bytes) -> None:
        """`BadHead` unless ``head``, which was read, is well-formed, names one Host and says of no
        body (RFC 9112, sections 2.2, 3.2, 5.1, 5.2 and 6.3)."""
        if not _HEAD.fullmatch(head):
            raise BadHead("That is not an HTTP request.")
        target = self.request.split(b" ")[1]
        if url := _URL.fullmatch(target):
            authority_and_path(url)
        elif not target.startswith(b"/"):
            raise BadHead(NO_TARGET)
        check_host(self.values(b"host"), self.request.rpartition(b" ")[2])
        length = self.values(b"content-length")
        if set(length) - {b"0"} or self.values(b"transfer-encoding"):
            raise BadHead("A WebSocket's handshake has no body.")

    @property
    def text(self) -> bytes:
        """The head, put together again."""
        return b"\r\n".join([self.request, *self.lines])

    @property
    def in_origin_form(self) -> HandshakeHead:
        """The checked head with a path for a target: the authority of a whole URL replaces the Host
        header (RFC 9112, section 3.2.2), by which the request is judged."""
        method, target, version = self.request.split(b" ")
        url = _URL.fullmatch(target)
        if url is None:
            return self
        authority, path = authority_and_path(url)
        return self._with(b"Host", authority, b" ".join([method, path, version]))

    @property
    def without_empty_port(self) -> HandshakeHead:
        """The checked head with a Host that ends with its name if its port is empty, which means
        the same (RFC 3986, section 6.2.3); Autobahn does not accept that."""
        (host,) = self.values(b"host")
        if not host.endswith(b":"):
            return self
        return self._with(b"Host", host[:-1], self.request)

    @property
    def with_one_extensions_line(self) -> HandshakeHead:
        """The head with all Sec-WebSocket-Extensions in one line, which means the same (RFC 6455,
        section 9.1); Autobahn does not accept several."""
        offers = self.values(_EXTENSIONS)
        if len(offers) < 2:
            return self
        return self._with(b"Sec-WebSocket-Extensions", b", ".join(offers), self.request)

    @property
    def origin(self) -> str | None:
        """The Origin header; several joined by commas, which is no origin."""
        origins = self.values(_ORIGIN)
        return b", ".join(origins).decode("latin-1") if origins else None

    @property
    def without_origin(self) -> HandshakeHead:
        """The head without its Origin."""
        return self._without(_ORIGIN) if self.values(_ORIGIN) else self

    def _with(self, name: bytes, value: bytes, request: bytes) -> HandshakeHead:
        """The head with another request line, and one line with this name."""
        others = self._without(name.lower())
        lines = [*others.lines, name + b": " + value]
        return HandshakeHead(request, lines, [*others.fields, (name.lower(), value)])

    def _without(self, name: bytes) -> HandshakeHead:
        """The head without the lines with this name (in lower case)."""
        pairs = zip(self.lines, self.fields, strict=True)
        others = [pair for pair in pairs if pair[1][0] != name]
        return HandshakeHead(
            self.request, [line for line, _ in others], [field for _, field in others]
        )
