"""The opening handshake of WebSocket (RFC 6455, section 4.2): what both ports judge and say alike,
and what Autobahn does not take as it may come."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.python.failure import Failure

from chatd.protocol.errors import AGAIN, ChatError, Code, bad_request
from chatd.protocol.json import dump
from chatd.transports.http.head import NO_TLS, BadHead, is_tls
from chatd.transports.http.response_headers import NOT_KEPT
from chatd.transports.websocket.strict_head import HandshakeHead

#: What is answered 426 (RFC 9110, section 15.5.22).
NO_UPGRADE = bad_request("This is a WebSocket: send Upgrade: websocket, over HTTP/1.1.")
UPGRADE_REQUIRED = 426
#: What is answered to another method than GET, with 405.
NO_GET = bad_request("Use GET.")

#: Bytes of a request's head, at most.
HEAD_BYTES = 16 * 1024
_NONE: Mapping[str, Any] = MappingProxyType({})


def refusal(status: int, error: ChatError, more: Iterable[tuple[str, object]] = ()) -> bytes:
    """The response that refuses a handshake, with the error object as its body."""
    body = dump(error.frame())
    headers: list[tuple[str, object]] = [
        *more,
        ("Content-Type", "application/json; charset=utf-8"),
        *NOT_KEPT.items(),
        ("Content-Length", len(body)),
        ("Connection", "close"),
    ]
    if error.code in AGAIN:
        headers.append(("Retry-After", error.retry or 1))
    if error.code is Code.UNAUTHORIZED:
        headers.append(("WWW-Authenticate", "Bearer"))
    if status == UPGRADE_REQUIRED:
        headers.append(("Upgrade", "websocket"))
    head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    head += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*head, "", ""]).encode("ascii") + body


def has_frame_head(data: bytes) -> bool:
    """Whether ``data`` begins with the whole head of a frame (RFC 6455, section 5.2)."""
    if len(data) < 2:
        return False
    masked, size = data[1] & 0x80, data[1] & 0x7F
    extended = {126: 2, 127: 8}.get(size, 0)
    return len(data) >= 2 + extended + (4 if masked else 0)


class OpeningHandshake(WebSocketServerProtocol):
    """The opening handshake of a connection."""

    data: bytes
    #: The Origin header of the request, until the connection is open.
    origin: str | None = None
    _refusal: ChatError | None = None

    @abstractmethod
    def admit(self, request: ConnectionRequest) -> str | None:
        """Admit the client, and return the subprotocol (None for none). Raises `ChatError`."""

    @abstractmethod
    def refused(self, error: ChatError, status: int) -> None:
        """The handshake was refused with ``error``, by an answer with ``status``."""

    def processHandshake(self) -> None:
        """Look at what has come of the request."""
        text, end, rest = self.data.partition(b"\r\n\r\n")
        if len(text) > HEAD_BYTES:
            self.failHandshake(f"The request is longer than {HEAD_BYTES} bytes.", 431)
            return
        if not end:
            if is_tls(self.data):
                self._refuse(NO_TLS)
            return
        head = HandshakeHead.read(text)
        if head.is_plain_get:
            self._refusal = NO_UPGRADE
            self.failHandshake(NO_UPGRADE.text, UPGRADE_REQUIRED)
            return
        try:
            head.check(text)
        except BadHead as error:
            self._refuse(str(error))
            return
        if head.method != b"GET":
            self._refusal = NO_GET
            self.failHandshake(NO_GET.text, 405, [("Allow", "GET")])
            return
        # Autobahn would judge the Origin by rules of its own, before `admit` does
        self.origin = head.origin
        taken = head.in_origin_form.without_empty_port.with_one_extensions_line.without_origin
        if taken is not head:
            self.data = taken.text + end + rest
        super().processHandshake()

    def _refuse(self, text: str) -> None:
        self._refusal = bad_request(text)
        self.failHandshake(text)

    def forget_request(self) -> None:
        """Let go of what Autobahn keeps of the opening handshake, and of a queue that is for its
        own way of sending: 3 KB a connection, more with a browser's headers, and 40 KB with as long
        a URL as there may be."""
        self.origin = None
        self.http_headers = self.http_request_params = _NONE
        self.http_request_data = self.http_response_data = b""
        self.http_status_line = self.http_request_uri = self.http_request_path = ""
        self.websocket_protocols = self.send_queue = ()

    def end(self, reason: Failure) -> None:
        """The connection is lost. What of it refers to itself is let go of, so that its memory is
        free at once."""
        # Autobahn's methods on the way there format seven arguments for log lines, logged or not,
        # in half of the time that the end of a connection takes
        WebSocketProtocol._connectionLost(self, reason)
        self.factory.countConnections -= 1
        self.is_open = self.is_closed = None
        if self._refusal is not None:
            self._refusal.__traceback__ = None  # whose frames refer to this

    def onConnect(self, request: ConnectionRequest) -> str | None:
        """See `autobahn.websocket.interfaces.IWebSocketChannel`: the request is in order."""
        try:
            return self.admit(request)
        except ChatError as error:
            self._refusal = error
            raise ConnectionDeny(error.code.http, error.text) from None

    def failHandshake(
        self, reason: str, code: int = 400, responseHeaders: list[tuple[str, object]] | None = None
    ) -> None:
        """Refuse the handshake, and end the connection."""
        # not Autobahn's whole text: it quotes the request, which may have a token in the URL
        error = self._refusal or bad_request(re.split(r"""['":(]""", reason)[0].strip(" .") + ".")
        status = code if error.code is Code.BAD_REQUEST else error.code.http
        said = refusal(status, error, responseHeaders or ())
        if self.data.startswith(b"HEAD "):  # no body, though the headers tell its length
            said = said[: said.index(b"\r\n\r\n") + 4]
        self.sendData(said)
        self.refused(error, status)
        self.wasClean = True  # else Autobahn would log a warning for each
        self.dropConnection(abort=False)
