"""Following a room's stream: its head, its newest messages, and what becomes of interruptions."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.brokers.interfaces import IFollower, IFollowing, Record, Stream, Unavailable
from chatd.protocol.messages import WINDOW, Claim, Message
from chatd.rooms.cache import RECENT_MESSAGES, RecentMessages
from chatd.rooms.context import RoomContext
from chatd.rooms.records import OwnRecords, RecordReader
from chatd.rooms.stream_tail import StreamTail, TailRecord
from chatd.timing.singleflight import Waiters

#: Seconds that `RoomFollower.attach` waits for the broker.
PATIENCE = 10.0
#: Records read when a room is attached: the cache, and the ids that its messages may repeat.
TAIL = WINDOW + RECENT_MESSAGES


class RoomState(Enum):
    """How a room stands to its stream."""

    DETACHED = auto()
    #: Reads the newest records; the head is not known yet.
    ATTACHING = auto()
    #: At the head.
    LEVEL = auto()
    #: The broker is away; following resumes by itself.
    AWAY = auto()


class FollowedRoom(Protocol):
    """What a follower tells its room."""

    def seen(self, key: int | None, claim: Claim | None) -> bool:
        """The stream has a record with this deduplication key (None: no message), and this time in
        its body. Returns whether it repeats an earlier one."""

    def arrived(self, messages: Sequence[Message]) -> None:
        """These are the next messages; none if all of a batch were repeats or expired."""

    def lost(self, upto: int) -> None:
        """Messages up to the offset ``upto`` were never read here, and are gone."""

    def level(self) -> None:
        """All that is in the stream was read."""

    def interrupted(self) -> None:
        """The broker is away."""

    def vanished(self) -> None:
        """The stream was deleted on the broker. No call follows."""


@implementer(IFollower)
class RoomFollower:
    """Follows ``stream`` for ``room`` between `attach` and `detach`. ``own`` is what this node
    publishes there."""

    def __init__(
        self, stream: Stream, node: RoomContext, room: FollowedRoom, own: OwnRecords
    ) -> None:
        self.stream = stream
        self.state = RoomState.DETACHED
        #: The offset of the newest record read.
        self.head = -1
        self.recent = RecentMessages(node.budget, node.retention.size)
        self._node = node
        self._room = room
        self._reader = RecordReader(stream, node.dating, node.metrics, own)
        self._following: IFollowing | None = None
        #: Since when it has not been level: the clock's seconds.
        self._since = 0.0
        self._level: Waiters[None] = Waiters()
        #: Whether the next batch comes after a gap.
        self._truncated = False
        #: What was in the stream when attaching, until all of it has come; None before and after.
        self._tail: StreamTail | None = None

    @property
    def known(self) -> bool:
        """Whether the head is known, so that it can be told what lies after a cursor."""
        return self.state in (RoomState.LEVEL, RoomState.AWAY)

    @property
    def lag(self) -> float:
        """For how many seconds it has not been at the head of the stream, as far as it knows."""
        if self.state in (RoomState.LEVEL, RoomState.DETACHED):
            return 0.0
        return self._node.clock.seconds() - self._since

    @property
    def fault(self) -> str:
        """Why the stream cannot be read; see `IFollowing.fault`."""
        return str(self._following.fault) if self._following is not None else ""

    def attach(self) -> Deferred[None]:
        """Follow the stream; fires when the head is known. Fails with `Unavailable` if the broker
        does not answer within `PATIENCE` seconds, or says that the stream cannot be read."""
        if self.known:
            return succeed(None)
        if self.state is RoomState.DETACHED:
            self.state, self._tail = RoomState.ATTACHING, StreamTail()
            self._since = self._node.clock.seconds()
            self._following = self._node.broker.follow(self.stream, TAIL, self)
        return self._level.wait().addTimeout(PATIENCE, self._node.clock, self._late)

    def _late(self, result: object, timeout: float) -> None:
        raise Unavailable(self.fault)

    def detach(self, stream: Stream | None = None) -> None:
        """Stop following and free the cache. With ``stream``, `attach` follows that one next."""
        if self._following is not None:
            self._following.stop()
        self._following = None
        self.stream = stream or self.stream
        self.state = RoomState.DETACHED
        self.head = -1
        self._tail = None
        self._truncated = False
        self.recent.clear(-1)
        self._reader.begin(self.stream)
        self._level.fire(None)  # whoever waits in `attach` must look at the state again

    def refresh(self) -> None:
        """See `IFollowing.refresh`."""
        if self._following is not None:
            self._following.refresh()

    # -- IFollower ---------------------------------------------------------------------------------

    def caught_up(self, end: int) -> None:
        if self._tail is not None:
            self._prime(list(self._tail), end)
        elif self._truncated:
            self._resume_after(end)
        self.head = max(self.head, end)
        self.state = RoomState.LEVEL
        self._room.level()
        self._level.fire(None)

    def interrupted(self) -> None:
        if self.state is RoomState.LEVEL:
            self.state = RoomState.AWAY
            self._since = self._node.clock.seconds()
            self._room.interrupted()
        elif self.fault:
            # who attaches need not wait for what does not come
            self._level.fire(Failure(Unavailable(self.fault)))

    def truncated(self) -> None:
        self._truncated = True
        if self._tail is not None:
            self._tail = StreamTail()

    def gone(self) -> None:
        self._following = None
        self._room.vanished()

    def records(self, batch: Sequence[Record]) -> None:
        self._node.clock.seconds()  # so that a standstill is noticed before they count
        self._node.former_ids.look()
        if self._tail is not None:
            self._tail.add(batch, self._reader.parse(batch))
            return
        if self._truncated:
            self._resume_after(batch[0].offset - 1)
        with self._node.answers:
            messages = self._read(batch)
        self.head = batch[-1].offset
        self.recent.extend(messages)
        oldest = self._node.oldest()
        fresh = [m for m in messages if not m.expired(oldest)]
        if len(fresh) < len(messages):
            # some expired before they came: the broker was away, or this process stood still. What
            # is left is read from the cache
            self._room.lost(fresh[0].offset - 1 if fresh else messages[-1].offset)
            fresh = []
        self._room.arrived(fresh)

    def _prime(self, tail: Sequence[TailRecord], end: int) -> None:
        """Fill the cache from the tail of the stream.

        If there is more of the stream before the tail, its first `WINDOW` records may repeat ids
        from there, so they only tell which ids are known.
        """
        self._tail, self._truncated = None, False
        times = self._reader.times([record.claim for record in tail])
        ids_only = WINDOW if len(tail) >= TAIL else 0
        before, newest = tail[0].offset - 1 if tail else end, 0
        messages: list[Message] = []
        for i, (record, time) in enumerate(zip(tail, times, strict=True)):
            repeated = self._room.seen(record.key, record.claim)
            if i < ids_only or (record.message is None and record.key is not None):
                before, newest = record.offset, max(newest, time)
            elif record.message is not None and not repeated:
                messages.append(record.message.at(time))
        self.recent.clear(before, newest)
        self.recent.extend(messages)
        self.head = tail[-1].offset if tail else end

    def _resume_after(self, before: int) -> None:
        """Continue after a gap that ends at the offset ``before``. Known ids stay known."""
        self._truncated = False
        self.recent.clear(before)
        self._room.lost(before)

    def _read(self, batch: Sequence[Record]) -> list[Message]:
        """The messages of ``batch``, without repeats."""
        seen, messages = self._room.seen, []
        for message, claim, time in self._reader.read(batch):
            if message is None:
                seen(None, None)
            elif not seen(message.key, claim):
                messages.append(message.at(time))
        return messages
