"""The newest records of a stream, which are read when a room is attached."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from attrs import define, field, frozen

from chatd.brokers.interfaces import Record
from chatd.protocol.messages import Claim, Message
from chatd.rooms.cache import RECENT_BYTES, weight


@frozen
class TailRecord:
    """What is kept of a record: its deduplication key and the time that its body claims, None where
    it has none, and the message, if that is among the newest."""

    offset: int
    key: int | None
    claim: Claim | None
    message: Message | None


@define(eq=False)
class StreamTail:
    """Takes records as they are parsed, so that no turn of the reactor has to do all of them.
    Messages that would not fit into the cache are not kept."""

    _records: list[tuple[int, int | None, Claim | None]] = field(factory=list, init=False)
    _messages: deque[Message] = field(factory=deque, init=False)
    _size: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[TailRecord]:
        kept = {message.offset: message for message in self._messages}
        for offset, key, claim in self._records:
            yield TailRecord(offset, key, claim, kept.get(offset))

    def add(self, batch: Sequence[Record], messages: Sequence[Message | None]) -> None:
        """Add the next records, and the message of each."""
        for record, message in zip(batch, messages, strict=True):
            if message is None:
                self._records.append((record.offset, None, None))
            else:
                self._records.append((record.offset, message.key, message.claim))
                self._messages.append(message)
                self._size += weight(message)
                while self._size > RECENT_BYTES:
                    self._size -= weight(self._messages.popleft())
