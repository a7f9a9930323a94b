"""`WallClock`: steps of the time of day, and what they do to retention and to tokens."""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chatd.timing.steady import steady
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.wall import AGAIN, STEPS, Alarm, WallClock

HOUR = 3600.0
DAY = 86_400
START = 1_800_000_000.0


class SetClock(TestCase):
    """A monotonic clock, and a time of day that can be set."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.ahead = START - 1000
        self.wall = WallClock(self.clock, lambda: self.clock.seconds() + self.ahead)

    def set(self, seconds: float) -> None:
        self.ahead += seconds
        self.wall.seconds()

    def expired(self, time: float) -> bool:
        """Whether what was said at ``time`` has expired by a retention of a minute."""
        return time * 1000 < self.wall.oldest(60)


class StepTests(SetClock):
    def test_without_a_step_age_is_what_the_clock_says(self) -> None:
        for passed in range(10):
            self.assertEqual(self.wall.oldest(DAY), (START + passed - DAY) * 1000)
            self.clock.advance(1)

    def test_a_step_forward_makes_nothing_older(self) -> None:
        before = self.wall.seconds()
        self.set(HOUR)
        after = self.wall.seconds()
        for passed in range(0, 70, 3):
            for said in (before, after):
                self.assertEqual(self.expired(said), passed > 60, (said, passed))
            self.clock.advance(3)

    def test_when_all_from_before_has_expired_the_step_counts_no_more(self) -> None:
        for _ in range(100):
            self.set(HOUR)
            self.clock.advance(100)
            self.assertEqual(self.wall.oldest(60), int((self.wall.seconds() - 60) * 1000))
        self.assertLessEqual(len(self.wall._steps), STEPS)

    def test_steps_add_up(self) -> None:
        before = self.wall.seconds()
        for _ in range(3):
            self.clock.advance(10)
            self.set(HOUR)
        self.assertFalse(self.expired(before))
        self.clock.advance(31)
        self.assertTrue(self.expired(before))

    def test_a_step_back_takes_a_step_forward_away(self) -> None:
        self.set(HOUR)
        self.set(-HOUR)
        self.assertEqual(self.wall.oldest(60), (START - 60) * 1000)
        self.set(HOUR)
        self.set(-HOUR / 2)
        self.assertEqual(self.wall.oldest(60), (START - 60) * 1000)

    def test_a_step_back_takes_parts_of_several_steps_forward_away(self) -> None:
        before = self.wall.seconds()
        self.set(HOUR)
        self.set(HOUR)
        self.set(-1.5 * HOUR)
        self.assertFalse(self.expired(before))
        self.assertEqual(self.wall.oldest(60), (START - 60) * 1000)

    def test_what_is_said_after_a_step_back_expires_in_time(self) -> None:
        self.set(-HOUR)
        said = self.wall.seconds()
        self.clock.advance(60)
        self.assertFalse(self.expired(said))
        self.clock.advance(1)
        self.assertTrue(self.expired(said))

    def test_a_correction_is_no_step(self) -> None:
        for _ in range(1000):
            self.clock.advance(1)
            self.set(0.5)
        self.assertEqual(self.wall.oldest(60), (START + 1500 - 60) * 1000)

    def test_it_is_looked_at_when_nobody_asks(self) -> None:
        self.wall.watch()
        self.ahead += HOUR
        self.clock.pump([1.0] * 10)
        self.assertEqual(len(self.wall._steps), 1)

    def test_steps_are_said(self) -> None:
        with mock.patch.object(WallClock, "_log") as log:
            self.set(HOUR)
            self.set(-HOUR)
            self.clock.advance(HOUR)
            self.wall.seconds()
        self.assertEqual([c.kwargs["step"] for c in log.warn.call_args_list], [HOUR, HOUR])


class AlarmTests(SetClock):
    def setUp(self) -> None:
        super().setUp()
        self.rang = 0
        self.alarm = Alarm(START + 100, self.ring, self.wall, TimerWheel(self.clock))

    def ring(self) -> None:
        self.rang += 1

    def wait(self, seconds: float) -> None:
        self.clock.pump([1.0] * int(seconds))

    def test_it_rings_once_in_time(self) -> None:
        self.wait(99)
        self.assertEqual(self.rang, 0)
        self.wait(3)
        self.assertEqual(self.rang, 1)
        self.wait(300)
        self.assertEqual(self.rang, 1)

    def test_a_step_forward_brings_it_near(self) -> None:
        self.set(HOUR)
        self.wait(AGAIN + 2)
        self.assertEqual(self.rang, 1)

    def test_a_step_back_puts_it_off(self) -> None:
        self.set(-HOUR)
        self.wait(HOUR + 98)
        self.assertEqual(self.rang, 0)
        self.wait(4)
        self.assertEqual(self.rang, 1)

    def test_cancelled_it_never_rings(self) -> None:
        self.wait(50)
        self.alarm.cancel()
        self.alarm.cancel()
        self.wait(300)
        self.assertEqual(self.rang, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Reactor(ReactorBase):
    """The timers of Twisted's reactors, without a network."""

    def installWaker(self) -> None:
        """There is nobody to wake."""

    def removeAll(self) -> list[Any]:
        return []


class SteadyTests(TestCase):
    def setUp(self) -> None:
        self.elapsed = 5000.0
        self.patch(time, "clock_gettime", lambda which: self.elapsed)
        self.reactor: Any = Reactor()

    def test_timers_run_by_the_clock_that_cannot_be_set(self) -> None:
        called: list[str] = []
        self.reactor.callLater(10, called.append, "before")
        self.assertIs(steady(self.reactor), self.reactor)
        self.reactor.callLater(10, called.append, "after")
        self.reactor.runUntilCurrent()
        self.assertEqual(called, [])
        self.elapsed += 11
        self.reactor.runUntilCurrent()
        self.assertEqual(called, ["before", "after"])

    def test_it_is_done_once(self) -> None:
        seconds = steady(self.reactor).seconds
        self.assertIs(steady(self.reactor).seconds, seconds)
        self.assertLess(abs(self.reactor.seconds() - time.time()), 60)

    def test_a_clock_that_goes_back_nevertheless(self) -> None:
        begin = steady(self.reactor).seconds()
        self.elapsed -= 4000
        self.assertEqual(self.reactor.seconds(), begin)
        self.elapsed += 3
        self.assertEqual(self.reactor.seconds(), begin + 3)
