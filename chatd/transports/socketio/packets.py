"""Packets of Socket.IO 5 (https://socket.io/docs/v4/socket-io-protocol/, "Packet encoding").

``python-socketio`` has a codec with the faults of Engine.IO's; see
`chatd.transports.socketio.engine_packets`. Packets to a client are written with the Engine.IO
message that carries them.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

from attrs import frozen

from chatd.protocol.json import dump, load
from chatd.transports.socketio.engine_packets import BadPacket, EngineKind

#: The only namespace that chatd has.
MAIN = "/"
#: The most binary attachments that a packet may announce, as on stock servers.
MAX_ATTACHMENTS = 10


class PacketKind(Enum):
    """The type of a packet, which is its first digit."""

    CONNECT = "0"
    DISCONNECT = "1"
    EVENT = "2"
    ACK = "3"
    CONNECT_ERROR = "4"
    BINARY_EVENT = "5"
    BINARY_ACK = "6"


_BINARY = (PacketKind.BINARY_EVENT, PacketKind.BINARY_ACK)
_EVENTS = (PacketKind.EVENT, PacketKind.BINARY_EVENT)
_LISTS = (PacketKind.EVENT, PacketKind.ACK, *_BINARY)
#: type, attachments, namespace, id (as many digits as a number of JavaScript has), payload
_PACKET = re.compile(
    r"([0-6])(?:([0-9]{1,4})-)?(?:(/[^,]{0,200})(?:,|\Z))?([0-9]{1,15})?(.*)",
    re.ASCII | re.DOTALL,
)


@frozen
class SocketPacket:
    """A packet. ``data`` is None if it has no payload; binary parts of it are placeholders."""

    kind: PacketKind
    namespace: str = MAIN
    id: int | None = None
    data: Any = None
    attachments: int = 0

    @classmethod
    def read(cls, text: str) -> SocketPacket:
        """Decode the data of an Engine.IO message. Raises `BadPacket`."""
        match = _PACKET.fullmatch(text)
        if match is None:
            raise BadPacket("There is no packet of this type.")
        first, attachments, namespace, id, payload = match.groups()
        kind = PacketKind(first)
        if (attachments is not None) is not (kind in _BINARY):
            raise BadPacket("Binary packets, and no others, say how many attachments they have.")
        count = int(attachments or 0)
        if count > MAX_ATTACHMENTS:
            raise BadPacket(f"A packet has at most {MAX_ATTACHMENTS} attachments.")
        number = None if id is None else int(id)
        return cls(kind, namespace or MAIN, number, _payload(kind, payload), count)


def _payload(kind: PacketKind, text: str) -> Any:
    try:
        data = load(text) if text else None
    except ValueError:
        raise BadPacket("A payload is JSON.") from None
    if kind in _LISTS and not isinstance(data, list):
        raise BadPacket("An event and an acknowledgement have an array.")
    if kind in _EVENTS and not _begins_with_name(data):
        raise BadPacket("An event begins with its name.")
    if kind is PacketKind.CONNECT and not isinstance(data, dict | None):
        raise BadPacket("What a client connects with is an object.")
    if kind is PacketKind.DISCONNECT and data is not None:
        raise BadPacket("A disconnection has no payload.")
    return data


def _begins_with_name(data: Any) -> bool:
    return bool(data) and isinstance(data[0], str | int) and not isinstance(data[0], bool)


def written(kind: PacketKind, json: bytes = b"", id: int | None = None, of: str = MAIN) -> bytes:
    """A packet for the namespace ``of`` with the payload ``json`` and perhaps an ``id``, as an
    Engine.IO message."""
    head = kind.value
    if of != MAIN:
        head += f"{of},"
    if id is not None:
        head += str(id)
    return EngineKind.MESSAGE.value + head.encode("utf-8") + json


def event(frame: dict[str, Any]) -> bytes:
    """An event named by the ``type`` of ``frame``, with ``frame`` as its only argument."""
    return written(PacketKind.EVENT, dump([frame["type"], frame]))
