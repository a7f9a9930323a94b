"""What a room keeps, and when something was said in it last, for administrators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatd.brokers.interfaces import Extent, Unavailable
from chatd.directory.projection import RoomEntry
from chatd.protocol.timestamps import format_time
from chatd.service.chat import Chat


async def room_details(chat: Chat, entries: Sequence[RoomEntry]) -> list[dict[str, Any]]:
    """About how many ``messages`` and ``bytes`` each room keeps, and the time of the ``last`` one;
    null is what the broker does not tell."""
    try:
        told = await chat.rooms.node.broker.extents([entry.stream for entry in entries])
    except Unavailable:
        told = [None] * len(entries)
    return [_details(chat, *pair) for pair in zip(entries, told, strict=True)]


def _details(chat: Chat, entry: RoomEntry, told: Extent | None) -> dict[str, Any]:
    room = chat.rooms.attached(entry)
    newest = room.recent.newest if room is not None else None
    last = newest.time if newest is not None else told.latest if told is not None else None
    return {
        "messages": told.records if told is not None else None,
        "bytes": told.size if told is not None else None,
        "last": format_time(last) if last else None,
    }
