"""Where a room stands with its stream."""

from __future__ import annotations

from enum import Enum, auto


class RoomState(Enum):
    """How a room stands to its stream."""

    DETACHED = auto()
    #: The newest records are being read; nothing can be said of the head yet.
    ATTACHING = auto()
    #: Follows at the head.
    LEVEL = auto()
    #: The broker is away; following resumes by itself.
    AWAY = auto()
