"""WebSocket on the HTTP port: GET /ws."""

from __future__ import annotations

from typing import Any

from autobahn.twisted.resource import WebSocketResource

from chatd.protocol.errors import bad_request
from chatd.transports.http.router import Call, Reply, Route
from chatd.transports.websocket.connection import Factory


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
