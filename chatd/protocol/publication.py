"""A message as its sender gives it: parsed and checked once, where it comes in."""

from __future__ import annotations

from secrets import token_hex

from attrs import frozen

from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import Content, check_content
from chatd.protocol.names import message_id

#: Random bytes in an id that the server makes: nobody can have used it before.
ID_BYTES = 16


@frozen
class Publication:
    """A message to be published to ``room``. With a repeat, ``after`` is the cursor up to which its
    sender had read when it first sent it."""

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
        """Check what a client sent to ``room`` (a name in its normal form); None stands for what it
        left out. ``max_text`` is in bytes. `ChatError` bad_request or too_large."""
        key = message_id(id) if id is not None else token_hex(ID_BYTES)
        checked, more = check_content(text, data, max_text)
        content = Content(user, key, checked, more, fresh=id is None)
        repeated = id is not None and after is not None
        return cls(room, content, Cursor.parse(after) if repeated else None)
