"""From the records of a room's stream to messages."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from chatd.brokers.interfaces import Record, Stream
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import BadRecord, Claim, Content, Message, own_message, read_message
from chatd.rooms.dating import Dating
from chatd.telemetry.metrics import Metrics
from chatd.telemetry.once import Once


def message_of(stream: Stream, record: Record) -> Message:
    """Parse a record of ``stream``. Raises `BadRecord`."""
    if record.fault:
        raise BadRecord(record.fault)
    cursor = Cursor(stream.life, record.offset)
    return read_message(stream.room, cursor, record.body, record.foreign)


class OwnRecords(dict[bytes, tuple[Content, int]]):
    """What this node has written to a room and not read back yet: the content and time (as for
    `Content.record`) of each body. A record with the same bytes says the same, so it need not be
    parsed."""

    def message_of(self, stream: Stream, record: Record) -> Message | None:
        """The message of a record of ``stream``, if it is one of these."""
        known = self.get(record.body)
        if known is None or record.fault:
            return None
        cursor = Cursor(stream.life, record.offset)
        return own_message(stream.room, cursor, record.body, *known)


class RecordReader:
    """Parses the records of one room as they come. A record that is no message is skipped and
    counted; each reason is logged once, because other programs can write any number of them."""

    _log = Logger()

    def __init__(self, stream: Stream, dating: Dating, metrics: Metrics, own: OwnRecords) -> None:
        self._dating = dating
        self._own = own
        self._metrics = metrics
        self._new = Once()
        self.begin(stream)

    def begin(self, stream: Stream) -> None:
        """Expect records of ``stream`` from now on, from any offset."""
        self._stream = stream
        self._dates = self._dating.dates(stream)

    def read(self, batch: Sequence[Record]) -> list[tuple[Message | None, Claim | None, int]]:
        """The message of each record, None for a record that is no message; the time in its body;
        and the time that it is shown with."""
        messages = self.parse(batch)
        claims = [message.claim if message else None for message in messages]
        return list(zip(messages, claims, self.times(claims), strict=True))

    def parse(self, batch: Sequence[Record]) -> list[Message | None]:
        """The message of each record, None for a record that is no message."""
        return [self._read(record) for record in batch]

    def times(self, claims: Sequence[Claim | None]) -> list[int]:
        """The times that the next records are shown with, given those in their bodies; see
        `chatd.rooms.dating`."""
        return self._dates.resolve(claims, self._dating.now)

    def _read(self, record: Record) -> Message | None:
        try:
            return self._own.message_of(self._stream, record) or message_of(self._stream, record)
        except BadRecord as e:
            self._metrics.bad_records.labels("fault" if record.fault else "format").inc()
            if self._new(str(e)):
                self._log.warn(
                    "{room} at {offset}: skipped a record that is no message: {why}",
                    room=self._stream.room,
                    offset=record.offset,
                    why=str(e),
                )
            return None
