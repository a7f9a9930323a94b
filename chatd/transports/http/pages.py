"""The chat page and its files, WebSocket at ``/ws``, and what operators' probes ask for."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

from autobahn.twisted.resource import WebSocketResource

from chatd.protocol.messages import bad_request
from chatd.telemetry.metrics import CONTENT_TYPE, Metrics
from chatd.transports.http.router import Call, Reply, Route
from chatd.transports.websocket.connection import Factory

#: Answered whatever the limits, and while the node drains.
UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics"})

#: Path, file in ``chatd.web``, media type.
PAGES = (
    ("/", "index.html", "text/html; charset=utf-8"),
    ("/log.js", "log.js", "text/javascript; charset=utf-8"),
    ("/page.js", "page.js", "text/javascript; charset=utf-8"),
    ("/chatd.js", "chatd.js", "text/javascript; charset=utf-8"),
    ("/chatd.css", "chatd.css", "text/css; charset=utf-8"),
)

#: Nothing inline, nothing from elsewhere (Content Security Policy Level 3).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def pages() -> list[Route]:
    """The chat page and its files, read once."""
    folder = files("chatd.web")
    return [
        Route(path, {"GET": _file((folder / name).read_bytes(), type)})
        for path, name, type in PAGES
    ]


def _file(content: bytes, type: str) -> Callable[[Call], Any]:
    etag = f'"{sha256(content).hexdigest()[:20]}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
    }

    async def get(call: Call) -> Reply:
        if call.header("if-none-match") == etag:
            return Reply(304, b"", type, headers)
        return Reply(200, content, type, headers)

    return get


class Probes:
    """``/healthz``, ``/readyz``, ``/metrics``."""

    def __init__(self, metrics: Metrics, ready: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._ready = ready

    def routes(self) -> list[Route]:
        """The routes of this class."""
        return [
            Route("/healthz", {"GET": self.alive}),
            Route("/readyz", {"GET": self.ready}),
            Route("/metrics", {"GET": self.metrics}),
        ]

    async def alive(self, call: Call) -> Reply:
        """The process answers."""
        return Reply(200, {"status": "alive"})

    async def ready(self, call: Call) -> Reply:
        """The broker is connected and the directory loaded."""
        if self._ready():
            return Reply(200, {"status": "ready"})
        return Reply(503, {"status": "not ready"}, headers={"Retry-After": "2"})

    async def metrics(self, call: Call) -> Reply:
        """Prometheus text."""
        return Reply(200, self._metrics.text(), CONTENT_TYPE)


def upgrade(factory: Factory) -> Route:
    """``/ws``: WebSocket on the HTTP port. The handshake's own checks are the factory's."""
    resource = WebSocketResource(factory)

    async def get(call: Call) -> Reply | None:
        if (call.header("upgrade") or "").lower() != "websocket":
            raise bad_request("This is a WebSocket; send Upgrade: websocket.")
        # HTTP is done with this connection: the new protocol registers a producer of its own
        channel: Any = call.request.channel
        channel.transport.unregisterProducer()
        channel.hand_over()
        resource.render(call.request)
        return None

    return Route("/ws", {"GET": get})
