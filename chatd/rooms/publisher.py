"""Publishing to one room: each id is stored once, each sender's messages in order."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from chatd.brokers.interfaces import NotStored, Stream, Unavailable
from chatd.brokers.read_back import ReadBack
from chatd.protocol.messages import Claim, Content, content_key
from chatd.rooms.context import RoomContext
from chatd.rooms.deduplication import DeduplicationWindow
from chatd.rooms.records import OwnRecords
from chatd.timing.lines import Lines, Piece
from chatd.timing.singleflight import SingleFlight

T = TypeVar("T")

#: Concurrent publishes to one room.
PENDING = 10_000
#: Seconds after which a publish fails.
PATIENCE = 10.0

_TOO_MANY = "too many messages to the room are under way"
_ANEW = "the room begins anew"


class RoomPublisher:
    """Publishes to one room, and knows which ids it has.

    A message is published when this node's own follower has read it back (see
    `chatd.brokers.read_back`), so the sender can read it here at once.

    If the broker may lose one message and store the next (see `IBroker.exact`), a sender's next
    message is sent when the previous one is published or has failed, so that a message that must be
    sent again is not overtaken; or before, over the same lane (`IBroker.lane`). One that is
    overtaken all the same is given up. Different senders do not wait for each other.

    After a standstill of the process publishes wait until all has been read that was stored
    meanwhile: it may be the same messages, sent again elsewhere (see `FormerIds`).

    ``own`` is told what is written. ``refresh`` makes the follower read again, and ``fault`` says
    why it cannot read; see `IFollowing`. Ids are forgotten with the messages, by the retention.
    """

    def __init__(
        self,
        node: RoomContext,
        own: OwnRecords,
        refresh: Callable[[], None],
        fault: Callable[[], str],
    ) -> None:
        self._broker = node.broker
        self._clock = node.clock
        self._wall = node.wall
        self._age = node.retention.age  # seconds
        self._own = own
        self._former = node.former_ids
        self._window = self._new_window()
        self._read_back: ReadBack[int, bool] = ReadBack(
            node.broker, node.clock, node.counts, refresh, fault
        )
        #: Those who wait for a message that may be sent again meanwhile. Each may be cancelled.
        self._under_way: dict[int, list[Deferred[bool]]] = {}
        #: What waits for an earlier publish of the same sender.
        self._lines: Lines[Hashable, bool] = Lines()
        #: How often the process had stood still when all was read last that was stored meanwhile,
        #: and how many publishes wait for that.
        self._made_good = self._begun()
        self._making_good: SingleFlight[None, None] = SingleFlight()
        self._waiting = 0

    def __len__(self) -> int:
        """The number of publishes under way, whether anybody still waits for them or not."""
        return len(self._read_back.under_way) + self._lines.waiting + self._waiting

    def _new_window(self) -> DeduplicationWindow:
        return DeduplicationWindow(self._age * 1000, self._dropped)

    def _begun(self) -> int:
        """What is made good where following begins: nothing if there was a standstill of late, for
        the broker's host may not have all."""
        stood_still = self._former.look()
        return -1 if self._former.kept else stood_still

    def _dropped(self, key: int) -> None:
        if self._former.kept:
            self._former.add(self._window, key)

    def repeats(self, key: int | None, claim: Claim | None) -> bool:
        """The follower read a record with this key (None: it is no message) and this time in its
        body. Returns whether it repeats an earlier one."""
        repeated = self._window.repeats(key, claim)
        if key is not None:
            self._read_back.brought(key, True)
        return repeated

    def caught_up(self) -> None:
        """The follower has read everything in the stream."""
        self._read_back.caught_up()

    def forget(self) -> None:
        """Forget all ids, because following begins anew. Publishes under way fail with
        `Unavailable`: they may be lost with the stream. Those in line are not begun."""
        self._former.forget(self._window)
        self._window = self._new_window()
        self._made_good = self._begun()
        self._read_back.lost()

    def publish(
        self, stream: Stream, content: Content, sender: Hashable | None = None
    ) -> Deferred[bool]:
        """Store a message. What one ``sender`` publishes stays in order. True when the message has
        been read back, False if the room has it already.

        Fails as `chatd.brokers.read_back.ReadBack.append` does, after `PATIENCE` at the latest, or
        `PATIENCE` after what was stored during a standstill has been read.
        """
        if self._former.look() == self._made_good:
            return self._publish_once(stream, content, sender)
        if len(self) >= PENDING:
            return fail(NotStored(_TOO_MANY))
        again = partial(self.publish, stream, content, sender)
        # nobody can have sent it again
        anyway = partial(self._publish_once, stream, content, sender) if content.fresh else None
        return self._once_made_good(stream, again, anyway)

    def _publish_once(
        self, stream: Stream, content: Content, sender: Hashable | None
    ) -> Deferred[bool]:
        key = content_key(content.user, content.id)
        if content.fresh:  # nobody else can wait for it
            return self._publish(stream, key, content, sender)
        if self._knows(key):
            return succeed(False)
        waiter: Deferred[bool] = Deferred()
        waiting = self._under_way.get(key)
        if waiting is not None:
            waiting.append(waiter)
            return waiter
        published = self._publish(stream, key, content, sender)
        self._under_way[key] = [waiter]
        published.addBoth(self._ended, key)
        return waiter

    def _once_made_good(
        self,
        stream: Stream,
        then: Callable[[], Deferred[bool]],
        otherwise: Callable[[], Deferred[bool]] | None = None,
    ) -> Deferred[bool]:
        """``then()``, once all has been read that was stored while the process stood still; all who
        wait go on in their order. ``otherwise()``, or `NotStored`, if that fails."""
        window = self._window
        self._waiting += 1

        def go_on(result: Failure | None) -> Deferred[bool]:
            self._waiting -= 1
            if self._window is not window:
                raise NotStored(_ANEW)
            if isinstance(result, Failure):
                result.trap(Unavailable)
                if otherwise is None:
                    raise NotStored(str(result.value))
                return otherwise()
            return then()

        return self._making_good.run(None, lambda: self._make_good(stream)).addBoth(go_on)

    async def _make_good(self, stream: Stream) -> None:
        until = self._clock.seconds() + PATIENCE
        while (stood_still := self._former.look()) != self._made_good:
            if self._clock.seconds() >= until:
                raise Unavailable("this node stands still again and again")
            await self._broker.end(stream)
            self._made_good = stood_still

    def _knows(self, key: int) -> bool:
        if self._window.may_know(key) and self._window.knows(key, self._wall.oldest(self._age)):
            return True
        return self._former.kept and self._former.knows(self._window, key)

    def _ended(self, result: bool | Failure, key: int) -> None:
        for waiter in self._under_way.pop(key):
            waiter.callback(result)

    def _publish(
        self, stream: Stream, key: int, content: Content, sender: Hashable | None
    ) -> Deferred[bool]:
        if len(self) >= PENDING:
            return fail(NotStored(_TOO_MANY))
        until = self._clock.seconds() + PATIENCE
        if sender is None or self._broker.exact:
            return self._append(stream, key, content, until)
        return self._append_in_line(sender, stream, key, content, until)

    def _append(self, stream: Stream, key: int, content: Content, until: float) -> Deferred[bool]:
        time = self._wall.milliseconds()
        body = content.record(time)
        self._own[body] = content, time
        appended = self._read_back.append(stream, key, body, content.id, time, until)
        return appended.addBoth(self._done, body)

    def _done(self, result: T, body: bytes) -> T:
        self._own.pop(body, None)
        return result

    def _append_in_line(
        self, sender: Hashable, stream: Stream, key: int, content: Content, until: float
    ) -> Deferred[bool]:
        """Append behind all that ``sender`` published before; `NotStored` if that takes longer than
        ``until``, or the room has been forgotten meanwhile: ``stream`` may be the one it had. No
        timer is needed for that: whoever stands before it has an earlier end."""
        window, stood_still = self._window, self._made_good

        def append() -> Deferred[bool]:
            if self._window is not window:
                return fail(NotStored(_ANEW))
            if self._clock.seconds() >= until:
                return fail(NotStored("the messages before it are still under way"))
            if content.fresh or self._former.look() == stood_still:
                return self._append(stream, key, content, until)
            if self._former.look() == self._made_good:
                return append_once()
            return self._once_made_good(stream, append_once)

        def append_once() -> Deferred[bool]:
            if self._knows(key):
                return succeed(False)
            return self._append(stream, key, content, until)

        def overtaken() -> None:
            self._read_back.give_up(
                key, "a later message of the same connection was stored before it"
            )

        piece = Piece(append, partial(self._broker.lane, stream), overtaken)
        return self._lines.run(sender, piece)
