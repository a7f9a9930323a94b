"""How messages are written to Socket.IO clients: an event, in an Engine.IO message, in a WebSocket
text frame.

Both transports of a session share this encoding, so that subscriptions survive an upgrade; polling
takes the frames apart again (`chatd.transports.encodings.texts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from chatd.protocol.messages import Message
from chatd.rooms.interfaces import IEncoding
from chatd.transports.encodings import text_frame
from chatd.transports.socketio.packets import event


@implementer(IEncoding)
class SocketIOEncoding:
    """Encodes an object as the only argument of an event named by its ``type``."""

    def encode(self, messages: Sequence[Message]) -> bytes:
        return b"".join([text_frame(b'42["message",%b]' % m.json) for m in messages])

    def event(self, frame: dict[str, Any]) -> bytes:
        return text_frame(event(frame))


SOCKET_IO = SocketIOEncoding()
