"""Deadlines that share one delayed call, on the clock of a node."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.timing.clock import NodeClock
from chatd.timing.timer_wheel import Deadline, TimerWheel

RESOLUTION = 0.5


class WheelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.node_clock = NodeClock(self.clock)
        self.wheel = TimerWheel(self.node_clock, RESOLUTION, horizon=10)
        self.made: list[tuple[str, float]] = []

    def after(self, seconds: float, name: str) -> Deadline:
        return self.wheel.after(
            seconds, lambda: self.made.append((name, self.clock.seconds() - 1000))
        )

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.25] * int(seconds / 0.25))

    def test_calls_are_late_by_a_slot_at_most_and_never_early(self) -> None:
        for seconds in (0.6, 2.0, 0.1, 2.0):
            self.after(seconds, str(seconds))
        self.assertEqual((len(self.wheel), len(self.clock.getDelayedCalls())), (4, 1))
        self.wait(3)
        self.assertEqual(self.made, [("0.1", 0.5), ("0.6", 1.0), ("2.0", 2.0), ("2.0", 2.0)])
        self.assertEqual((len(self.wheel), self.clock.getDelayedCalls()), (0, []))

    def test_one_beyond_the_horizon_is_not_looked_at_before(self) -> None:
        self.after(8, "far")
        self.assertEqual(self.clock.getDelayedCalls()[0].getTime(), 1000 + 10 * RESOLUTION)
        self.wait(10)
        self.assertEqual(self.made, [("far", 8.0)])

    def test_one_that_is_moved(self) -> None:
        sooner, later = self.after(5, "sooner"), self.after(1, "later")
        sooner.move(1000.5)
        later.move(1002)
        self.wait(5)
        self.assertEqual(self.made, [("sooner", 0.5), ("later", 2.0)])

    def test_one_that_is_not_to_be_made_is_not_filed_again(self) -> None:
        made, cancelled = self.after(0.5, "made"), self.after(2, "never")
        self.wait(1)
        cancelled.cancel()
        for one in (made, cancelled):
            one.move(1000.75)
            one.cancel()
        self.assertEqual((len(self.wheel), self.clock.getDelayedCalls()), (0, []))
        self.wait(3)
        self.assertEqual(self.made, [("made", 0.5)])

    def test_a_node_that_has_stopped_makes_no_calls(self) -> None:
        deadline = self.after(1, "before")
        self.node_clock.callLater(1, self.fail)
        self.node_clock.stop()
        deadline.cancel()
        self.after(1, "after").cancel()
        self.after(1, "after")
        self.node_clock.callLater(1, self.fail)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_calls_that_were_made_are_forgotten(self) -> None:
        for _ in range(1000):
            self.node_clock.callLater(0.1, lambda: None)
            self.clock.advance(0.1)
        self.assertLess(len(self.node_clock._calls), 200)
