"""Readers who cannot read on now: when they are called, and that they are called once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.rooms.catch_up import RETRY, WaitingReaders
from chatd.timing.turn_queue import TurnQueue


class WaitingReadersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.readers = WaitingReaders(self.clock, TurnQueue(self.clock, 2))
        self.called: list[str] = []
        self.one, self.two = self.reader("one"), self.reader("two")

    def reader(self, name: str) -> Callable[[], None]:
        return partial(self.called.append, name)

    def after(self, seconds: float) -> list[str]:
        """Who is called within ``seconds``, and in the turn after."""
        self.called.clear()
        self.clock.advance(seconds)
        self.clock.advance(0)
        return self.called.copy()

    def test_called_when_the_broker_can_be_read_and_not_before(self) -> None:
        self.readers.add(self.one, again=False)
        self.assertEqual(self.after(10 * RETRY), [])
        self.readers.resume()
        self.assertEqual(self.called, [], "called in this turn of the reactor")
        self.assertEqual(self.after(0), ["one"])

    def test_called_in_a_while_if_it_can_be_read_already(self) -> None:
        self.readers.add(self.one, again=True)
        self.assertEqual(self.after(RETRY / 2), [])
        self.readers.add(self.two, again=True)
        self.assertEqual(self.after(RETRY / 2), ["one", "two"])

    def test_called_once(self) -> None:
        self.readers.add(self.one, again=True)
        self.readers.add(self.one, again=True)
        self.readers.add(self.one, again=False)
        self.readers.resume()
        self.readers.resume()
        self.assertEqual(self.after(10 * RETRY), ["one"])
        self.readers.resume()
        self.assertEqual(self.after(10 * RETRY), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_again_and_again(self) -> None:
        for _ in range(3):
            self.readers.add(self.one, again=True)
            self.assertEqual(self.after(RETRY - 0.1), [])
            self.assertEqual(self.after(0.1), ["one"])

    def test_no_sooner_for_those_who_came_before(self) -> None:
        """A new wait is a whole one."""
        self.readers.add(self.one, again=True)
        self.after(RETRY - 0.1)
        self.readers.resume()
        self.readers.add(self.two, again=True)
        self.assertEqual(self.after(0.1), ["one"])
        self.assertEqual(self.after(RETRY - 0.1), ["two"])

    def test_not_while_the_broker_is_away(self) -> None:
        self.readers.wait()
        self.readers.add(self.one, again=True)
        self.readers.wait()
        self.readers.wait()
        self.assertEqual(self.after(10 * RETRY), [])
        self.readers.resume()
        self.assertEqual(self.after(0), ["one"])

    def test_not_who_has_left(self) -> None:
        for one in (self.one, self.two):
            self.readers.add(one, again=True)
        self.readers.discard(self.one)
        self.readers.discard(self.one)
        self.assertEqual(self.after(RETRY), ["two"])
