"""The factory of the HTTP port."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from chatd.access.admission import Admission
from chatd.telemetry.metrics import Metrics
from chatd.transports.http.connection import HTTPConnection
from chatd.transports.http.overflow import Overflow
from chatd.transports.http.request import LimitedRequest


class LimitedSite(Site):
    """Makes the connections of the HTTP port. ``max_body`` is in bytes."""

    displayTracebacks = False
    noisy = False

    def __init__(self, root: IResource, door: Admission, metrics: Metrics, max_body: int) -> None:
        super().__init__(root, LimitedRequest, logFormatter=_masked_log)
        self.door = door
        self.metrics = metrics
        self.max_body = max_body
        self.overflow = Overflow()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel = HTTPConnection()
        channel.factory = channel.site = self
        channel.requestFactory = self.requestFactory
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS may agree on (ALPN): WebSocket needs HTTP/1.1."""
        return [b"http/1.1"]


def _masked_log(timestamp: str, request: Request) -> str:
    """A line of the access log, without the query: it may hold a token."""
    shown = ascii(f"{request.method.decode('latin-1')} {request.path.decode('latin-1')}")[1:-1]
    return (
        f'"{getattr(request.getClientAddress(), "host", "unix")}" - - {timestamp} '
        f'"{shown}" '
        f"{request.code} {request.sentLength}"
    )
