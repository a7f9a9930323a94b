"""Records of a room's stream, and the messages that they are."""

from __future__ import annotations

from twisted.logger import Logger

from chatd.brokers.interfaces import Record, Stream
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import BadRecord, Message, read_message
from chatd.telemetry.metrics import Metrics
from chatd.telemetry.once import Once


def message_of(stream: Stream, record: Record) -> Message:
    """The message that a record of ``stream`` is. Raises `BadRecord`."""
    if record.fault:
        raise BadRecord(record.fault)
    return read_message(stream.room, Cursor(stream.life, record.offset), record.body)


class RecordReader:
    """Reads the records of one room as they come; what is no message is skipped, counted, and said
    once of each kind: a stranger can write any number of them."""

    _log = Logger()

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._new = Once()

    def read(self, stream: Stream, record: Record) -> Message | None:
        """The message that ``record`` is, None if it is none."""
        try:
            return message_of(stream, record)
        except BadRecord as e:
            self._metrics.bad_records.inc()
            if self._new(str(e)):
                self._log.warn(
                    "{room} at {offset}: skipped a record that is no message: {why}",
                    room=stream.room,
                    offset=record.offset,
                    why=str(e),
                )
            return None
