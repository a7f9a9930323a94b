"""What is remembered of messages that were sent again, and for how long."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.protocol.cursors import Cursor
from chatd.rooms import late_copies
from chatd.rooms.late_copies import LATE, LateCopies

EARLY, LATER = Cursor("e1", 3), Cursor("e1", 7)


class LateCopiesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.late = LateCopies(self.clock)

    def test_only_this_message(self) -> None:
        self.late.repeated("lobby", "ann", "x", EARLY)
        self.assertEqual(self.late.after("lobby", "ann", "x"), EARLY)
        for other in (("attic", "ann", "x"), ("lobby", "bob", "x"), ("lobby", "ann", "y")):
            self.assertIsNone(self.late.after(*other))

    def test_for_a_while_since_it_was_sent_again_last(self) -> None:
        self.late.repeated("lobby", "ann", "x", EARLY)
        self.clock.advance(LATE - 1)
        self.late.repeated("lobby", "ann", "x", LATER)
        self.clock.advance(LATE - 1)
        self.assertEqual(self.late.after("lobby", "ann", "x"), LATER)
        self.clock.advance(1)
        self.assertIsNone(self.late.after("lobby", "ann", "x"))

    def test_what_is_over_is_forgotten(self) -> None:
        for n in range(5):
            self.late.repeated("lobby", "ann", f"x{n}", EARLY)
        self.clock.advance(LATE)
        self.late.repeated("lobby", "ann", "new", EARLY)
        self.assertEqual(len(self.late._repeats), 1)

    def test_so_many_at_most(self) -> None:
        self.patch(late_copies, "REPEATS", 3)
        for n in (0, 1, 0, 2, 3):
            self.late.repeated("lobby", "ann", f"x{n}", EARLY)
        known = [n for n in range(4) if self.late.after("lobby", "ann", f"x{n}")]
        self.assertEqual(known, [0, 2, 3], "the newest")
