"""Answers of many messages, read page by page: what a client has yet to take is not held for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate

from attrs import define, field, frozen

from chatd.brokers.interfaces import NoSuchStream, Stream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.protocol.messages import Message
from chatd.rooms.room import Room

#: Bytes of message objects after which an answer is full, whatever its limit.
ANSWER_BYTES = 4 * 1024 * 1024
#: Bytes of message objects after which what follows is read only when the client takes it.
FIRST_BYTES = 64 * 1024


@define(eq=False)
class Reading:
    """What is left of an answer: at most ``left`` messages with ``end < offset <= upto``, and not
    many more than ``size`` bytes. ``open`` gives the room, if the reader may still read it."""

    _open: Callable[[], Awaitable[Room]]
    _stream: Stream
    _end: int
    _upto: int
    _left: int
    _size: int = field(default=ANSWER_BYTES)

    @property
    def cursor(self) -> Cursor:
        """Where reading has come to: what follows continues from here."""
        return Cursor(self._stream.life, self._end)

    async def next(self) -> Sequence[Message]:
        """The next messages, none at the end; that is also where messages are gone, where the room
        is, or the right to it, and where the broker cannot be read: asking again from the cursor
        tells."""
        try:
            room = await self._open()
            while room.stream == self._stream and self._goes_on():
                page = await room.page(self._end, self._left)
                if page.gap or room.stream != self._stream:
                    break
                self._end = page.end
                if page.messages:
                    self._left -= len(page.messages)
                    self._size -= sum(len(m.json) for m in page.messages)
                    return page.messages
        except (ChatError, NoSuchStream, Unavailable):
            pass
        return ()

    def _goes_on(self) -> bool:
        return self._left > 0 and self._size > 0 and self._end < self._upto


@frozen
class Answer:
    """What a poll returns: messages, and the cursor to poll again with. ``rest`` are more of them;
    then its cursor is the one that counts, once it has been read to its end."""

    messages: Sequence[Message]
    cursor: Cursor
    gap: bool
    rest: Reading | None = None


def first_of(messages: Sequence[Message]) -> int:
    """How many of ``messages`` make `FIRST_BYTES`."""
    sizes = accumulate(len(m.json) for m in messages)
    return 1 + sum(size < FIRST_BYTES for size in sizes)
