"""Many who wait for the same room to be attached go on in turns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.identity import Identity
from chatd.protocol.cursors import Cursor
from chatd.rooms.blocks import READERS
from chatd.rooms.start_position import Last, Now
from tests.support.world import World

ANN = Identity("ann")


class AttachedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.world.store("lobby", "a", "b")
        self.chat = self.world.sites[0].chat

    def most_in_a_turn(self, begin: Any) -> int:
        """How many of a hundred that wait for the room are done in one turn of the reactor."""
        outcomes = [self.world.begin(begin(n)) for n in range(100)]
        done: list[int] = []

        def look() -> None:
            done.append(sum(map(len, outcomes)))
            if done[-1] < len(outcomes):
                self.world.clock.callLater(0, look)

        look()
        self.assertEqual(done, [0])
        self.world.turn()
        return max(after - before for before, after in pairwise(done))

    def test_polls(self) -> None:
        most = self.most_in_a_turn(lambda _: self.chat.poll(ANN, "lobby", Last(1), 100, 0))
        self.assertLessEqual(most, READERS)

    def test_who_looks_back(self) -> None:
        cursor = Cursor(self.world.stream().life, 2)
        most = self.most_in_a_turn(lambda _: self.chat.look_back(ANN, "lobby", cursor, 100))
        self.assertLessEqual(most, 2 * READERS)  # the first ones wait for a read, too

    def test_who_joins(self) -> None:
        def join(n: int) -> Deferred[Any]:
            session, reader = self.world.session(f"user-{n}")
            return Deferred.fromCoroutine(session.join("lobby", reader, Now()))

        self.assertLessEqual(self.most_in_a_turn(join), READERS)

    def test_who_is_gone_by_then(self) -> None:
        polls = [
            Deferred.fromCoroutine(self.chat.poll(ANN, "lobby", Last(1), 100, 0)) for _ in range(3)
        ]
        self.world.clock.callLater(0, polls[1].cancel)
        self.world.turn()
        self.failureResultOf(polls[1], CancelledError)
        for poll in (polls[0], polls[2]):
            self.assertEqual([m.text for m in self.successResultOf(poll).messages], ["b"])
