"""Work in turns of the reactor: those who wait together are woken a few at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.timing.turn_queue import A_TURN, LONG, WOKEN, TurnQueue, WaitingInTurns, in_turns


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.queue = TurnQueue(self.clock, 3)
        self.called: list[int] = []

    def turn(self) -> list[int]:
        """What is called in one turn of the reactor."""
        before = len(self.called)
        for call in self.clock.getDelayedCalls():  # without those that it adds
            func, args = call.func, call.args
            call.cancel()
            func(*args)
        return self.called[before:]

    def test_few_in_each_turn(self) -> None:
        calls = [partial(self.called.append, n) for n in range(5)]
        for call in [*calls, calls[0]]:
            self.queue.add(call)
        self.assertEqual(self.turn(), [0, 1, 2])
        self.queue.add(calls[0])
        self.assertEqual(self.turn(), [3, 4, 0])
        self.assertEqual(self.turn(), [])

    def test_fewer_where_they_take_long(self) -> None:
        def call(n: int) -> None:
            self.called.append(n)
            self.clock.rightNow += 0.6 * LONG

        for n in range(4):
            self.queue.add(partial(call, n))
        self.assertEqual([self.turn() for _ in range(3)], [[0, 1], [2, 3], []])

    def test_what_is_called_may_add_itself(self) -> None:
        def again() -> None:
            self.called.append(0)
            self.queue.add(again)

        self.queue.add(again)
        self.assertEqual([self.turn() for _ in range(3)], [[0], [0], [0]])

    def test_who_waits_goes_on_when_it_is_its_turn(self) -> None:
        queue = TurnQueue(self.clock, 1)
        waiting = [queue.wait() for _ in range(3)]
        waiting[1].addErrback(lambda failure: failure.trap(CancelledError) and None).cancel()
        for number in range(3):
            self.assertEqual([one.called for one in waiting], [number > 0, True, number > 2])
            self.turn()
        self.assertTrue(all(one.called for one in waiting))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WaitingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waiting = WaitingInTurns(TurnQueue(self.clock, 2))
        self.woken: list[int] = []

    def wait(self, count: int) -> None:
        for number in range(count):
            self.waiting.wait().addCallback(partial(self._woken, number))

    def _woken(self, number: int, _: None) -> None:
        self.woken.append(number)

    def turns(self, most: int = 10) -> list[int]:
        """How many were woken after each turn."""
        seen: list[int] = []

        def look() -> None:
            seen.append(len(self.woken))
            if len(seen) < most and len(self.waiting):
                self.clock.callLater(0, look)

        self.clock.callLater(0, look)
        self.clock.advance(0)
        return seen

    def test_a_few_at_once(self) -> None:
        self.wait(3)
        self.waiting.wake()
        self.assertEqual(self.woken, [0, 1, 2])
        self.assertEqual(len(self.waiting), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_in_turns_and_in_order(self) -> None:
        count = 3 * WOKEN + 5
        self.wait(count)
        self.waiting.wake()
        self.assertEqual(len(self.waiting), count - WOKEN)
        self.assertEqual(self.turns(), [2 * WOKEN, 3 * WOKEN, count])
        self.assertEqual(self.woken, list(range(count)))

    def test_who_waits_anew_waits_for_what_comes_next(self) -> None:
        """A poll that was answered asks again before the others are answered."""
        self.wait(2 * WOKEN)
        self.waiting.wake()
        later = self.waiting.wait()
        self.turns(3)
        self.assertEqual(len(self.woken), 2 * WOKEN)
        self.assertNoResult(later)
        self.waiting.wake()
        self.successResultOf(later)

    def test_what_happens_meanwhile_wakes_who_came_meanwhile(self) -> None:
        self.wait(2 * WOKEN)
        self.waiting.wake()
        later = self.waiting.wait()
        self.waiting.wake()
        self.assertEqual(len(self.woken), WOKEN)
        self.assertNoResult(later)
        self.clock.advance(0)
        self.successResultOf(later)
        self.assertEqual(len(self.waiting), 0)

    def test_who_gives_up_before_its_turn_is_not_woken(self) -> None:
        self.wait(WOKEN)
        leaving = self.waiting.wait()
        self.waiting.wake()
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.assertEqual(len(self.waiting), 0)
        self.clock.advance(0)
        self.assertEqual(len(self.woken), WOKEN)

    def test_one_woken_may_take_another_with_it(self) -> None:
        """As the end of a connection does that has several requests under way."""
        first = self.waiting.wait()
        second = self.waiting.wait()
        first.addCallback(lambda _: second.cancel())
        self.waiting.wake()
        self.failureResultOf(second, CancelledError)

    def test_one_that_fails_is_logged_and_the_others_are_woken(self) -> None:
        class Broken:
            def callback(self, result: None, /) -> None:
                raise ValueError

        self.wait(1)
        self.waiting.join(Broken())
        self.wait(WOKEN)
        self.waiting.wake()
        self.clock.advance(0)
        self.assertEqual(len(self.woken), WOKEN + 1)
        self.assertEqual(len(self.waiting), 0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class ManyTests(SynchronousTestCase):
    """The same, done to many."""

    def test_some_now_and_some_in_each_turn(self) -> None:
        clock = Clock()
        done: list[int] = []
        seen: list[int] = []
        in_turns(clock, range(2 * A_TURN + 1), done.append)
        clock.callLater(0, lambda: seen.append(len(done)))
        self.assertEqual(len(done), A_TURN)
        clock.advance(0)
        self.assertEqual(seen, [2 * A_TURN])
        self.assertEqual(done, list(range(2 * A_TURN + 1)))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_fewer_where_they_take_long(self) -> None:
        """A room of many is told who came as one of few is, and takes as much longer."""
        clock: Any = Clock()
        done: list[int] = []

        def call(n: int) -> None:
            done.append(n)
            clock.rightNow += 0.6 * LONG

        in_turns(clock, range(5), call)
        seen = [len(done)]
        while clock.getDelayedCalls():
            clock.callLater(0, lambda: seen.append(len(done)))
            clock.advance(0)
        self.assertEqual((seen[:2], done), ([2, 4], list(range(5))))

    def test_those_after_one_that_fails(self) -> None:
        clock = Clock()
        done: list[float] = []
        in_turns(clock, [1, 0, 2], lambda n: done.append(1 / n))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((done, clock.getDelayedCalls()), ([1.0, 0.5], []))
