"""Packets of Engine.IO 4 (https://socket.io/docs/v4/engine-io-protocol/, "Packet encoding").

``python-engineio`` has a codec, but it parses JSON where the protocol has none, to any depth, lets
Python's own exceptions through, and comes with a whole server.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen

#: The separator between packets of a payload.
SEPARATOR = b"\x1e"
#: The most packets of a payload. A client sends in one payload whatever was emitted since the last.
MAX_PACKETS = 1000


class EngineKind(Enum):
    """The type of a packet, which is its first byte."""

    OPEN = b"0"
    CLOSE = b"1"
    PING = b"2"
    PONG = b"3"
    MESSAGE = b"4"
    UPGRADE = b"5"
    NOOP = b"6"
    #: The first byte of a binary message, which a payload carries as base64.
    BINARY = b"b"


_KINDS = {kind.value: kind for kind in EngineKind}


class BadPacket(Exception):
    """A malformed packet; the text says why. The protocol requires that the session is closed."""


@frozen
class EnginePacket:
    """A packet. ``data`` is what follows its first byte, in UTF-8."""

    kind: EngineKind
    data: str = ""

    @classmethod
    def read(cls, raw: bytes) -> EnginePacket:
        """Decode a packet. Raises `BadPacket`."""
        kind = _KINDS.get(raw[:1])
        if kind is None:
            raise BadPacket("There is no packet of this type.")
        try:
            return cls(kind, raw[1:].decode("utf-8"))
        except UnicodeDecodeError:
            raise BadPacket("A packet is UTF-8.") from None

    def __bytes__(self) -> bytes:
        return self.kind.value + self.data.encode("utf-8")


def read_payload(raw: bytes) -> list[EnginePacket]:
    """Decode a payload of 1 to `MAX_PACKETS` packets. Raises `BadPacket`."""
    if raw.count(SEPARATOR) >= MAX_PACKETS:
        raise BadPacket(f"A payload has at most {MAX_PACKETS} packets.")
    return [EnginePacket.read(one) for one in raw.split(SEPARATOR)]
