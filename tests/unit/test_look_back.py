"""Looking back from a cursor: from memory as from the broker, and what may happen meanwhile."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import NoSuchStream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.rooms.history import Earlier
from chatd.rooms.look_back import GONE, look_back
from chatd.rooms.read_queue import ReadQueue
from tests.support.world import World

#: Messages in the room, one at each offset.
MANY = 10


class LookBackTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, cached: bool = True, count: int = MANY) -> None:
        self.world = World()
        self.room = self.world.room()
        self.world.store("lobby", *(f"m{n}" for n in range(count)))
        if not cached:
            self.room.recent.forget()

    def begin(self, offset: int, limit: int = 3, life: str | None = None) -> list[Any]:
        cursor = Cursor(self.room.stream.life if life is None else life, offset)
        return self.world.begin(look_back(self.room, cursor, limit, 10_000, "192.0.2.7"))

    def found(self, offset: int, limit: int = 3, life: str | None = None) -> Earlier:
        outcome = self.begin(offset, limit, life)
        self.world.turn()
        self.assertIsInstance(outcome[0], Earlier)
        earlier: Earlier = outcome[0]
        return earlier

    def unavailable(self, outcome: list[Any]) -> None:
        self.assertIsInstance(outcome[0], Failure)
        self.assertIs(outcome[0].type, Unavailable)

    def test_from_anywhere(self) -> None:
        for cached in (True, False):
            self.make(cached)
            for offset in range(1, MANY):
                after = max(offset - 4, -1)
                expected = Earlier(after, offset - 1, offset - 1 - after, after >= 0, gap=False)
                self.assertEqual(self.found(offset), expected, (offset, cached))

    def test_before_the_first_there_is_nothing(self) -> None:
        for cached in (True, False):
            self.make(cached)
            for offset in (0, -1):
                found = self.found(offset)
                self.assertEqual((found.count, found.more, found.gap), (0, False, False))
            self.assertEqual(self.found(0), Earlier(-1, -1, 0, more=False, gap=False))

    def test_in_a_room_without_messages(self) -> None:
        self.make(count=0)
        self.assertEqual(self.found(-1).count, 0)
        self.assertEqual(self.found(5), Earlier(-1, -1, 0, more=False, gap=True))

    def test_from_a_cursor_beyond_the_end(self) -> None:
        """The newest, and a gap."""
        for cached in (True, False):
            self.make(cached)
            newest = Earlier(MANY - 4, MANY - 1, 3, more=True, gap=True)
            for offset in (MANY, MANY + 1, MANY + 100):
                self.assertEqual(self.found(offset), newest, (offset, cached))

    def test_from_a_cursor_of_another_life(self) -> None:
        self.assertEqual(self.found(5, life="other"), GONE)
        self.assertTrue(GONE.gap)

    def test_nothing_is_asked_for_what_is_at_hand(self) -> None:
        with mock.patch.multiple(
            self.world.broker, read=mock.DEFAULT, locate=mock.DEFAULT, end=mock.DEFAULT
        ):
            for offset in range(MANY):
                self.assertIsInstance(self.begin(offset)[0], Earlier, offset)

    def test_what_is_asked_is_counted_to_who_asks(self) -> None:
        self.make(cached=False)
        with mock.patch.object(ReadQueue, "run", autospec=True, side_effect=ReadQueue.run) as run:
            self.found(5)
        self.assertEqual({call.args[1] for call in run.call_args_list}, {"192.0.2.7"})

    def test_a_room_that_changes_meanwhile(self) -> None:
        """Its stream vanishes, it begins a new life, or it is let go."""
        for change in ("vanish", "renew", "detach"):
            self.make(cached=False)
            answer: Deferred[Any] = Deferred()
            history = self.world.sites[0].history
            with mock.patch.object(history, "earlier", lambda *_, answer=answer: answer):
                outcome = self.begin(5)
            self.assertEqual(outcome, [])
            if change == "vanish":
                answer.errback(NoSuchStream("gone"))
            elif change == "renew":
                self.world.do(self.world.broker.delete(self.room.stream))
                self.world.turn()
                self.assertTrue(self.room.known)
                answer.callback(GONE)
            else:
                self.room.detach()
                answer.callback(GONE)
            self.unavailable(outcome)
