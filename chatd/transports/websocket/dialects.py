"""Choosing the dialect of a WebSocket connection."""

from __future__ import annotations

from chatd.transports.websocket.chat_v1 import ChatV1
from chatd.transports.websocket.connection import WebSocketConnection
from chatd.transports.websocket.legacy import Legacy


def dialect(connection: WebSocketConnection, legacy: bool) -> ChatV1 | Legacy:
    """The original's for a client that asked for no subprotocol, else ``chatd.v1``."""
    return Legacy(connection) if legacy else ChatV1(connection)
