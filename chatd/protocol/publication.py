"""A message to be published, parsed and checked once, where a transport receives it."""

from __future__ import annotations

from secrets import token_hex

from attrs import frozen

from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import Content, check_content
from chatd.protocol.names import message_id

#: Random bytes in an id that the server makes, so many that it is new.
ID_BYTES = 16


@frozen
class Publication:
    """A message to be published to ``room``. ``after``, for a repeat, is the cursor up to which the
    sender had read when the message was first sent."""

    room: str
    content: Content
    after: Cursor | None = None

    @classmethod
    def parse(
        cls,
        room: str,
        user: str,
        text: object,
        data: object = None,
        id: object = None,
        after: object = None,
        *,
        max_text: int,
    ) -> Publication:
        """Check what a client sent to ``room`` (a checked name); None for fields left out.
        ``max_text`` is in bytes. Raises `ChatError` bad_request or too_large."""
        key = message_id(id) if id is not None else token_hex(ID_BYTES)
        checked, more = check_content(text, data, max_text)
        content = Content(user, key, checked, more, fresh=id is None)
        cursor = Cursor.parse(after) if after is not None else None
        return cls(room, content, cursor if id is not None else None)
