"""Answers from the room's cache alone, without asking the broker: nearly every answer is one."""

from __future__ import annotations

from chatd.protocol.cursors import Cursor
from chatd.rooms.room import Room
from chatd.service.reading import Answer


def at_hand(room: Room, cursor: Cursor, limit: int) -> Answer | None:
    """The messages after ``cursor`` in an attached ``room``, at most ``limit`` (1 or more), if they
    are those that `Chat.poll` would answer with and the room's cache has them all. None for what
    takes longer: a gap, another life of the room, what is beyond its end, many messages."""
    if cursor.epoch != room.stream.life or cursor.offset > room.head or not room.known:
        return None
    messages = room.recent_after(cursor.offset, limit)
    if messages is None:
        return None
    if not messages:
        return Answer((), cursor, gap=False)
    end = messages[-1].offset
    if len(messages) < limit and end < room.head:
        more = room.recent_after(end, 1)
        if more is None or more:
            return None
        end = room.head
    return Answer(messages, Cursor(cursor.epoch, end), gap=False)
