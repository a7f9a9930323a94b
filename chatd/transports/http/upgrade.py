"""WebSocket on the HTTP port: GET /ws."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from autobahn.twisted.resource import WebSocketResource

from chatd.protocol.errors import bad_request
from chatd.transports.http.call import Call, Reply, Route
from chatd.transports.websocket.factory import WebSocketFactory
from chatd.transports.websocket.handshake import NO_UPGRADE, UPGRADE_REQUIRED
from chatd.transports.websocket.strict_head import asks_for_websocket


def upgrade(factory: WebSocketFactory) -> Route:
    """The route ``/ws``, which passes the connection to ``factory``."""
    resource = WebSocketResource(factory)

    async def get(call: Call) -> Reply | None:
        if not wants_websocket(call):
            headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
            return Reply(UPGRADE_REQUIRED, NO_UPGRADE.frame(), headers=headers)
        hand_over(call, resource)
        return None

    return Route("/ws", {"GET": get})


def wants_websocket(call: Call) -> bool:
    """Whether a request asks for WebSocket. An Upgrade with HEAD is ignored: the handshake is a GET
    (RFC 6455, section 4.2.1)."""
    return not call.asks_for_head and asks_for_websocket(
        call.request.clientproto.decode("ascii"), call.header("upgrade")
    )


def hand_over(call: Call, resource: WebSocketResource) -> None:
    """Have ``resource`` shake hands, on the connection of a request that asks for WebSocket."""
    request = call.request
    if request.declared != 0:
        raise bad_request("A WebSocket's handshake has no body.")
    # the new protocol registers a producer of its own
    channel: Any = request.channel
    channel.transport.unregisterProducer()
    # the resource hands on the head and, as if it were a body, what came right behind it
    request.content = BytesIO(channel.hand_over())
    resource.render(request)
    request.handed_over()
    channel.let_go()
