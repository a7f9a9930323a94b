"""Work that is shared by all who ask for it meanwhile, and those who wait together."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.timing.singleflight import SingleFlight, Waiters
from chatd.timing.turn_queue import TurnQueue


class WaitersTests(SynchronousTestCase):
    def test_one_who_cancels_another_holds_up_nobody(self) -> None:
        waiters: Waiters[str] = Waiters()
        first, second, third = (waiters.wait() for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        waiters.fire("now")
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(third), "now")
        self.assertEqual(len(waiters), 0)


class SingleFlightTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.flight: SingleFlight[str, str] = SingleFlight()

    def test_all_get_the_outcome_of_one(self) -> None:
        work: Deferred[str] = Deferred()
        first, second = (self.flight.share("key", lambda: work) for _ in range(2))
        self.assertFalse(self.flight.idle("key"))
        self.assertTrue(self.flight.idle("other"))
        work.callback("done")
        self.assertEqual(self.successResultOf(first), "done")
        self.assertEqual(self.successResultOf(second), "done")
        self.assertTrue(self.flight.idle("key"))

    def test_all_but_the_first_go_on_in_turns(self) -> None:
        clock, work = Clock(), Deferred[str]()
        flight: SingleFlight[str, str] = SingleFlight(TurnQueue(clock, 1))
        shared = [flight.share("key", lambda: work) for _ in range(4)]
        shared[1].cancel()
        self.failureResultOf(shared.pop(1), CancelledError)
        work.callback("done")
        seen: list[int] = []

        def look() -> None:
            seen.append(sum(waiter.called for waiter in shared))
            if seen[-1] < len(shared):
                clock.callLater(0, look)

        look()
        clock.advance(0)
        self.assertEqual(seen, [1, 2, 3])

    def test_all_but_the_first_fail_in_turns(self) -> None:
        clock, work = Clock(), Deferred[str]()
        flight: SingleFlight[str, str] = SingleFlight(TurnQueue(clock, 1))
        first, second = (flight.share("key", lambda: work) for _ in range(2))
        work.errback(ZeroDivisionError())
        self.failureResultOf(first, ZeroDivisionError)
        self.assertNoResult(second)
        clock.advance(0)
        self.failureResultOf(second, ZeroDivisionError)

    def test_work_that_fails_before_it_has_begun(self) -> None:
        """Whoever comes later begins anew."""

        def fail() -> Deferred[str]:
            raise ZeroDivisionError

        for _ in range(2):
            self.failureResultOf(self.flight.share("key", fail), ZeroDivisionError)
            self.assertTrue(self.flight.idle("key"))
