"""Rooms in which much was said."""

from __future__ import annotations

import json

from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.support.daemon import Daemon

V1 = Subprotocol("chatd.v1")


def publish(daemon: Daemon, room: str, count: int, first: int = 0) -> None:
    """Publish the numbers from ``first`` on as messages, on one connection."""
    host, port = daemon.websocket
    with connect(f"ws://{host}:{port}/?username=bot", subprotocols=[V1]) as socket:
        for number in range(first, first + count):
            socket.send(json.dumps({"type": "message", "room": room, "text": f"{number}"}))
        assert json.loads(socket.recv())["type"] == "welcome"
        for _ in range(count):
            assert json.loads(socket.recv())["type"] == "ack"
