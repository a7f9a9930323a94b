"""How much is held for clients that do not read."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.budget import WORTH_TRIMMING, Unread


class Cut:
    """A transport that remembers that it was cut."""

    cut = False

    def abortConnection(self) -> None:
        self.cut = True


class Buffered(Connection):
    """A TCP connection, as far as its buffer goes."""

    cut = False

    def __init__(self) -> None:
        self.offset = 0
        self._tempDataBuffer = []
        self._tempDataLen = 0

    def give(self, size: int) -> None:
        """Write so many bytes."""
        self._tempDataLen += size

    def read(self, size: int) -> None:
        """The client has read so many bytes."""
        self.dataBuffer, self._tempDataLen = bytes(self._tempDataLen), 0
        self.offset = size

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

    def test_who_holds_less_than_before_has_read(self) -> None:
        unread = Unread(100, Clock())
        reading, stuck, third = Cut(), Cut(), Cut()
        unread.hold(reading, 40)
        unread.hold(stuck, 40)
        for size in (30, 40):
            unread.hold(reading, size)
        unread.hold(third, 40)
        self.assertEqual([reading.cut, stuck.cut, third.cut], [False, True, False])

    def test_who_reads_between_two_looks(self) -> None:
        """What it was given only grows, or stays, until it has read all."""
        unread = Unread(1000, Clock())
        one, other, stuck, new = Buffered(), Buffered(), Buffered(), Cut()
        for held in (one, other, stuck):
            held.give(300)
            unread.hold(held, 300)
        one.read(100)
        one.give(50)
        unread.hold(one, 350)
        other.read(1)
        unread.hold(new, 300)
        self.assertEqual([one.cut, other.cut, stuck.cut, new.cut], [False, False, True, False])
        unread.hold(new, 700)
        self.assertEqual([one.cut, other.cut, new.cut], [True, False, False])
        self.assertEqual(unread.total, 1000)

    def test_what_one_has_read_spares_it_once(self) -> None:
        unread = Unread(1000, Clock())
        one, other, new = Buffered(), Buffered(), Cut()
        for held in (one, other):
            held.give(400)
            unread.hold(held, 400)
            held.read(100)
        unread.hold(new, 400)
        self.assertEqual([one.cut, other.cut, new.cut], [False, False, True])
        unread.hold(Cut(), 400)
        self.assertEqual([one.cut, other.cut], [True, False])

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
