"""Where a reader starts, and what is asked of the broker to find it."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import NoSuchStream, Retention, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.timestamps import FIRST, LAST
from chatd.rooms.follower import TAIL
from chatd.rooms.read_queue import ReadQueue
from chatd.rooms.start_position import (
    MAX_LAST,
    After,
    Last,
    Now,
    Since,
    Start,
    StartPosition,
    check_last,
    find,
    since,
)
from tests.support.world import World

#: Messages in the room, one at each offset, a second apart.
MANY = 10


class ParameterTests(SynchronousTestCase):
    def test_last(self) -> None:
        for good in (0, 1, MAX_LAST):
            self.assertEqual(check_last(good), good)
        for bad in (-1, MAX_LAST + 1, True, 1.0, "1", None):
            error = self.assertRaises(ChatError, check_last, bad)
            self.assertIs(error.code, Code.BAD_REQUEST)

    def test_since(self) -> None:
        self.assertEqual(since("2027-01-01T00:00:00.250Z"), Since(1_798_761_600_250))
        self.assertEqual(since("9999-12-31T23:59:59-12:00"), Since(LAST))
        self.assertEqual(since("0001-01-01T00:00:00+12:00"), Since(FIRST))


class FindCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, cached: bool = True, retention: Retention | None = None) -> None:
        self.world = World(nodes=2, retention=retention)
        self.room = self.world.room()
        self.start = self.world.now
        for n in range(MANY):
            self.world.store("lobby", f"m{n}")
            self.world.advance(1)
        if not cached:
            self.room.recent.forget()

    def after(self, offset: int, life: str | None = None) -> After:
        return After(Cursor(self.room.stream.life if life is None else life, offset))

    def begin(self, start: Start) -> list[Any]:
        return self.world.begin(find(self.room, start, "192.0.2.7"))

    def found(self, start: Start) -> StartPosition:
        outcome = self.begin(start)
        self.world.turn()
        self.assertIsInstance(outcome[0], StartPosition)
        position: StartPosition = outcome[0]
        return position

    def unavailable(self, outcome: list[Any]) -> None:
        self.assertIsInstance(outcome[0], Failure)
        self.assertIs(outcome[0].type, Unavailable)


class WhereTests(FindCase):
    """From memory and from the broker alike."""

    def test_each_way_of_starting(self) -> None:
        for cached in (True, False):
            self.make(cached)
            expected: list[tuple[Start, int]] = [(Now(), MANY - 1)]
            expected += [(self.after(n), n) for n in range(-1, MANY)]
            expected += [(Last(n), MANY - 1 - n) for n in range(MANY + 1)]
            expected += [(Last(MANY + 1), -1)]
            expected += [(Since(self.start + 1000 * n), n - 1) for n in range(MANY)]
            expected += [(Since(self.start + 1000 * n + 1), n) for n in range(MANY)]
            for start, offset in expected:
                self.assertEqual(self.found(start), StartPosition(offset), (start, cached))

    def test_since_a_time_to_which_the_clock_was_set_back(self) -> None:
        """The first message at or after it is an old one, which is in memory no more."""
        ahead = [f"ahead{n}" for n in range(3)]
        self.world.store("lobby", *ahead, time=self.world.now + 30_000, foreign=False)
        self.world.store("lobby", *(f"later{n}" for n in range(TAIL - MANY)), foreign=False)
        since = Since(self.world.now + 10_000)
        self.assertEqual(self.found(since), StartPosition(MANY - 1))
        self.world.forget()  # so that it is read again
        self.room = self.world.room()
        self.assertEqual(self.found(since), StartPosition(MANY - 1))
        self.room.recent.forget()
        self.assertEqual(self.found(since), StartPosition(MANY - 1))

    def test_after_what_is_no_longer_kept(self) -> None:
        self.make(cached=False)
        self.world.broker.truncate(self.world.stream(), 4)
        for offset in (-1, 0, 2):
            self.assertEqual(self.found(self.after(offset)), StartPosition(3, gap=True), offset)
        self.assertEqual(self.found(self.after(3)), StartPosition(3))

    def test_after_what_was_in_memory_until_it_expired(self) -> None:
        self.make(retention=Retention(age=8))
        self.world.advance(2.5)
        self.assertEqual(self.found(self.after(0)), StartPosition(4, gap=True))
        self.assertEqual(self.found(self.after(4)), StartPosition(4))

    def test_where_nothing_is_kept(self) -> None:
        self.make(cached=False)
        self.world.broker.truncate(self.world.stream(), MANY)
        self.assertEqual(self.found(self.after(3)), StartPosition(MANY - 1, gap=True))

    def test_after_a_cursor_of_another_life(self) -> None:
        """All that is kept, and a gap, even where the offset would fit."""
        for cached in (True, False):
            self.make(cached)
            self.assertEqual(self.found(self.after(5, "other")), StartPosition(-1, gap=True))
            self.world.broker.truncate(self.world.stream(), 4)
            self.room.recent.forget()
            self.assertEqual(self.found(self.after(5, "other")), StartPosition(3, gap=True))

    def test_after_a_cursor_beyond_the_end(self) -> None:
        for beyond in (MANY, MANY + 100):
            position = self.found(self.after(beyond))
            self.assertEqual(position, StartPosition(-1, gap=True), beyond)


class CostTests(FindCase):
    def test_nothing_is_asked_for_what_is_at_hand(self) -> None:
        """The commonest of all: a client that has read everything polls again."""
        broker = self.world.broker
        starts: list[Start] = [Now(), Last(0), Last(3), Since(self.start), self.after(3, "other")]
        starts += [self.after(offset) for offset in (MANY - 1, 3, -1)]
        with mock.patch.multiple(broker, read=mock.DEFAULT, locate=mock.DEFAULT, end=mock.DEFAULT):
            for start in starts:
                self.assertIsInstance(self.begin(start)[0], StartPosition, start)
            self.room.recent.forget()
            for start in (Now(), Last(0), self.after(MANY - 1)):
                self.assertEqual(self.found(start), StartPosition(MANY - 1), start)

    def test_what_is_asked_is_counted_to_who_asks(self) -> None:
        starts: tuple[Start, ...] = (Last(3), Since(self.start), self.after(3))
        for start in (*starts, self.after(3, "other"), self.after(MANY + 5)):
            self.make(cached=False)
            with mock.patch.object(
                ReadQueue, "run", autospec=True, side_effect=ReadQueue.run
            ) as run:
                self.found(start)
            self.assertEqual({call.args[1] for call in run.call_args_list}, {"192.0.2.7"}, start)


class MeanwhileTests(FindCase):
    """What may happen while the broker answers."""

    def setUp(self) -> None:
        self.make(cached=False)

    def reading(self, start: Start) -> tuple[list[Any], Deferred[Any]]:
        """Begin, and hold the broker's answer back."""
        answer: Deferred[Any] = Deferred()
        held = mock.patch.object(self.world.broker, "locate", return_value=answer)
        held.start()
        self.addCleanup(held.stop)
        outcome = self.begin(start)
        self.assertEqual(outcome, [])
        return outcome, answer

    def test_the_stream_vanishes(self) -> None:
        outcome, answer = self.reading(Since(self.start))
        answer.errback(NoSuchStream("gone"))
        self.unavailable(outcome)

    def test_the_room_begins_a_new_life(self) -> None:
        """The offset that was found means nothing there."""
        outcome, answer = self.reading(Since(self.start))
        self.world.do(self.world.broker.delete(self.room.stream))
        self.world.turn()
        self.assertTrue(self.room.known)
        answer.callback(MANY)
        self.unavailable(outcome)

    def test_the_room_is_let_go(self) -> None:
        outcome, answer = self.reading(Since(self.start))
        self.room.detach()
        answer.callback(MANY)
        self.unavailable(outcome)


class AheadTests(FindCase):
    """A cursor of a node that has read further than this one."""

    def setUp(self) -> None:
        super().setUp()
        self.follower = self.room._follower
        patched = mock.patch.object(self.follower, "records")
        self.held_back = patched.start()
        self.world.store("lobby", "one", "two")
        patched.stop()

    def come(self) -> None:
        self.follower.records(self.held_back.call_args.args[0])
        self.world.turn()

    def test_waits_until_this_one_has_too(self) -> None:
        outcomes = [self.begin(self.after(offset)) for offset in (MANY, MANY + 1)]
        self.world.turn()
        self.assertEqual(outcomes, [[], []])
        self.come()
        self.assertEqual(outcomes, [[StartPosition(MANY)], [StartPosition(MANY + 1)]])

    def test_goes_on_waiting_while_only_some_has_come(self) -> None:
        outcome = self.begin(self.after(MANY + 1))
        self.world.turn()
        one, two = self.held_back.call_args.args[0]
        self.follower.records([one])
        self.world.turn()
        self.assertEqual(outcome, [])
        self.follower.records([two])
        self.world.turn()
        self.assertEqual(outcome, [StartPosition(MANY + 1)])

    def test_not_for_ever(self) -> None:
        outcome = self.begin(self.after(MANY))
        self.world.advance(4.5)
        self.assertEqual(outcome, [])
        self.world.advance(1)
        self.unavailable(outcome)

    def test_not_for_a_room_that_is_let_go(self) -> None:
        outcome = self.begin(self.after(MANY))
        self.world.turn()
        self.room.detach()
        self.room.waiting.wake()
        self.world.turn()
        self.unavailable(outcome)

    def test_is_a_gap_where_the_stream_ends_before_it(self) -> None:
        """Whatever else this node has yet to read."""
        with mock.patch.object(self.world.broker, "end", return_value=succeed(MANY + 1)) as end:
            outcome = self.begin(self.after(MANY + 2))
        self.assertEqual(outcome, [StartPosition(-1, gap=True)])
        end.assert_called_once_with(self.room.stream)
