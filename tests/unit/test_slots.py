"""Those who wait for a slot get it in order, however many they are."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from chatd.timing.slots import Slots

#: More than Python's stack is deep.
MANY = 5000


class SlotsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.slots = Slots(2)

    def test_as_many_as_there_are(self) -> None:
        first, second, third = (self.slots.acquire() for _ in range(3))
        self.assertTrue(first.called and second.called)
        self.assertEqual((third.called, len(self.slots)), (False, 1))
        fourth = self.slots.acquire()
        self.slots.release()
        self.assertEqual((third.called, fourth.called, len(self.slots)), (True, False, 1))
        self.slots.release()
        self.assertEqual((fourth.called, len(self.slots)), (True, 0))
        for _ in range(2):
            self.slots.release()
        self.assertEqual([self.slots.acquire().called for _ in range(3)], [True, True, False])

    def test_who_leaves_takes_none(self) -> None:
        for _ in range(2):
            self.slots.acquire()
        leaving, staying = self.slots.acquire(), self.slots.acquire()
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.slots.release()
        self.assertTrue(staying.called)

    def test_many_who_are_done_at_once(self) -> None:
        for _ in range(2):
            self.slots.acquire()
        for _ in range(MANY):
            self.slots.acquire().addCallback(lambda _: self.slots.release())
        self.slots.release()
        self.assertEqual(len(self.slots), 0)
        self.slots.release()
        self.assertTrue(all(self.slots.acquire().called for _ in range(2)))
