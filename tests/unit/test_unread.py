"""How much is held for clients that do not read."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.unread import WORTH_TRIMMING, Unread


class Cut:
    """A transport that remembers that it was cut."""

    cut = False

    def abortConnection(self) -> None:
        self.cut = True


class UnreadTests(SynchronousTestCase):
    def test_who_has_taken_nothing_for_longest_is_cut(self) -> None:
        unread = Unread(100, Clock())
        first, second, third = Cut(), Cut(), Cut()
        unread.hold(first, 40)
        unread.hold(second, 40)
        unread.hold(first, 50)
        unread.hold(third, 40)
        self.assertEqual([first.cut, second.cut, third.cut], [True, False, False])
        self.assertEqual(unread.total, 80)
        for one in (second, third, third):
            unread.release(one)
        self.assertEqual(unread.total, 0)

    def test_memory_is_given_back_when_most_is_no_longer_held(self) -> None:
        clock, trimmed = Clock(), []
        unread = Unread(10 * WORTH_TRIMMING, clock, lambda: trimmed.append(clock.seconds()))
        many = [Cut() for _ in range(16)]
        for one in many:
            unread.hold(one, WORTH_TRIMMING // 8)
        for one in many[:8]:
            unread.release(one)
        clock.advance(10)
        self.assertFalse(trimmed)
        for one in many:
            unread.release(one)
        clock.advance(10)
        self.assertEqual(len(trimmed), 1)
        unread.hold(many[0], 100)
        unread.release(many[0])
        clock.advance(10)
        self.assertEqual(len(trimmed), 1)  # not for every small answer
