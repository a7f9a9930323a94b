"""Following a stream of `SQLiteBroker`: pages from the file, then each commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.brokers.interfaces import IFollower, IFollowing, NoSuchStream, Record, Stream
from chatd.brokers.sqlite.damage import Damaged
from chatd.brokers.sqlite.reader import PAGE_RECORDS, RecordPage


class _State(Enum):
    #: The broker is away.
    WAITING = auto()
    #: A page is being read.
    READING = auto()
    #: At the head.
    LIVE = auto()
    STOPPED = auto()


@implementer(IFollowing)
@define(eq=False)
class SQLiteFollowing:
    """Passes each record to ``follower`` once.

    Records that are committed while a page is being read are kept aside; those after the last page
    are passed together with it. ``turn_page(stream, position, tail)`` reads a `RecordPage`; when it
    fails, the following waits for the next call of `begin`.
    """

    stream: Stream
    tail: int | None
    follower: IFollower
    turn_page: Callable[[Stream, int | None, int | None], Deferred[RecordPage]]
    forget: Callable[[SQLiteFollowing], None]
    fault: str = ""
    _state: _State = _State.WAITING
    _position: int | None = None
    _aside: list[Record] = field(factory=list)
    _missed: bool = False
    _reading: Deferred[RecordPage] | None = None

    _log = Logger()

    def stop(self) -> None:
        if self._state is not _State.STOPPED:
            self._state = _State.STOPPED
            self._aside.clear()
            self.forget(self)

    def refresh(self) -> None:
        """Does nothing: records are passed before their appends are confirmed."""

    def begin(self) -> None:
        """Read on, if that is necessary. May be called at any time."""
        if self._state is _State.WAITING:
            self._state = _State.READING
            self._read()

    def interrupt(self) -> None:
        """The broker stops, or cannot read."""
        if self._state in (_State.READING, _State.LIVE):
            self._state = _State.WAITING
            self._aside.clear()
            self._tell(self.follower.interrupted)

    def read_anew(self) -> None:
        """The file may hold more than `grown` told, or the stream no longer."""
        self.interrupt()
        self.begin()

    def end(self) -> None:
        """The stream was deleted."""
        if self._state is not _State.STOPPED:
            self.stop()
            self._tell(self.follower.gone)

    def grown(self, records: Sequence[Record]) -> None:
        """``records`` were committed."""
        if self._state is _State.LIVE:
            self._hand_over(records)
        elif self._state is _State.READING and not self._missed:
            self._aside.extend(records)
            if len(self._aside) > PAGE_RECORDS:
                self._missed = True
                self._aside.clear()

    def _read(self) -> None:
        self._aside.clear()
        self._missed = False
        self._reading = reading = self.turn_page(self.stream, self._position, self.tail)
        reading.addCallbacks(
            self._paged, self._failed, callbackArgs=(reading,), errbackArgs=(reading,)
        )

    def _paged(self, page: RecordPage, reading: Deferred[RecordPage]) -> None:
        if self._state is not _State.READING or reading is not self._reading:
            return
        self._position, self.fault = page.next, ""
        if page.lost:
            self._tell(self.follower.truncated)
        if page.records and self._state is _State.READING:
            self._tell(self.follower.records, page.records)
        if self._state is not _State.READING:
            return
        if not page.complete or self._missed:
            self._read()
            return
        aside, self._aside = self._aside, []
        self._state, self._reading = _State.LIVE, None
        self._tell(self.follower.caught_up, page.end)
        if self._state is _State.LIVE:
            self._hand_over(aside)

    def _failed(self, failure: Failure, reading: Deferred[RecordPage]) -> None:
        if self._state is not _State.READING or reading is not self._reading:
            return
        if isinstance(failure.value, NoSuchStream):
            self.end()
        else:
            self.fault = str(failure.value) if isinstance(failure.value, Damaged) else ""
            self.interrupt()

    def _hand_over(self, records: Sequence[Record]) -> None:
        position = self._position or 0
        # a page may have had records whose commit is only reported now
        if records and records[0].offset < position:
            records = [record for record in records if record.offset >= position]
        if records and records[0].offset > position:
            # offsets do not skip here: something was committed that nobody was told of
            self.read_anew()
            return
        if records:
            self._position = records[-1].offset + 1
            self._tell(self.follower.records, records)

    def _tell(self, call: Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except Exception:
            self._log.failure("a follower of {stream} failed", stream=self.stream.name)
