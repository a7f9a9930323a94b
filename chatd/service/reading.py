"""Large answers, read page by page as the client takes them, so that little is buffered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field, frozen

from chatd.brokers.interfaces import NoSuchStream, Stream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.protocol.messages import Message
from chatd.rooms.room import Room

#: Bytes of messages at which an answer is full, whatever its limit.
ANSWER_BYTES = 4 * 1024 * 1024
#: Bytes of messages at the beginning of an answer that are read before it is sent.
FIRST_BYTES = 64 * 1024


@define(eq=False)
class Reading:
    """The rest of an answer: at most ``left`` messages with ``end < offset <= upto``, and no
    further page once they have ``size`` bytes. ``open`` returns the room, or raises `ChatError` if
    the reader may not read it any more; ``asker`` is as in `History`."""

    _open: Callable[[], Awaitable[Room]]
    _stream: Stream
    _end: int
    _upto: int
    _left: int
    _asker: str
    _size: int = field(default=ANSWER_BYTES)

    @property
    def cursor(self) -> Cursor:
        """The cursor of the last message read."""
        return Cursor(self._stream.life, self._end)

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to read."""
        return not self._goes_on()

    async def next(self) -> Sequence[Message]:
        """The next messages, none at the end. A gap, a deleted room, a lost right and a broker that
        is away end the reading too, before it is `complete`; who reads on from `cursor` learns of
        it by asking again."""
        try:
            room = await self._open()
            while room.stream == self._stream and self._goes_on():
                page = await room.page(self._end, self._left, self._asker)
                if page.gap or room.stream != self._stream:
                    break
                self._end = min(page.end, self._upto)
                if messages := page.upto(self._upto):
                    self._left -= len(messages)
                    self._size -= sum(len(m.json) for m in messages)
                    return messages
        except (ChatError, NoSuchStream, Unavailable):
            pass
        return ()

    def _goes_on(self) -> bool:
        return self._left > 0 and self._size > 0 and self._end < self._upto


@frozen
class Answer:
    """What a poll returns: messages, and the cursor to poll again with. If there is a ``rest``, it
    has the further messages, and, when it has been read to its end, the cursor."""

    messages: Sequence[Message]
    cursor: Cursor
    gap: bool
    rest: Reading | None = None


@frozen
class LookedBack:
    """What looking back returns: messages, and further ones in ``rest``. ``more``: older ones are
    kept; ``gap``: none are left, and there had been some."""

    messages: Sequence[Message]
    more: bool
    gap: bool
    rest: Reading | None
