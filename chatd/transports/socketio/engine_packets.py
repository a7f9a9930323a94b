"""Packets of Engine.IO 4 (https://socket.io/docs/v4/engine-io-protocol/, "Packet encoding").

``python-engineio`` has a codec too. It parses JSON where the protocol has none, however deep, lets
Python's own errors through, and brings a whole server along.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen

#: What stands between the packets of a payload.
SEPARATOR = b"\x1e"
#: Packets of a payload. A stock client sends all that has been asked for since its last request.
MAX_PACKETS = 1000


class EngineKind(Enum):
    """What a packet is, by its first byte."""

    OPEN = b"0"
    CLOSE = b"1"
    PING = b"2"
    PONG = b"3"
    MESSAGE = b"4"
    UPGRADE = b"5"
    NOOP = b"6"
    #: A message of bytes, as base64 says it in a payload.
    BINARY = b"b"


_KINDS = {kind.value: kind for kind in EngineKind}


class BadPacket(Exception):
    """What no packet can be; the text says why. The protocol has the session closed."""


@frozen
class EnginePacket:
    """One packet; ``data`` is what follows its first byte, and is UTF-8."""

    kind: EngineKind
    data: str = ""

    @classmethod
    def read(cls, raw: bytes) -> EnginePacket:
        """Decode one packet; `BadPacket` for anything else."""
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
    """Decode the packets of a payload: one at least, `MAX_PACKETS` at most."""
    if raw.count(SEPARATOR) >= MAX_PACKETS:
        raise BadPacket(f"A payload has at most {MAX_PACKETS} packets.")
    return [EnginePacket.read(one) for one in raw.split(SEPARATOR)]
