"""Work that is shared by all who ask for it meanwhile, and those who wait together."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.timing.singleflight import SingleFlight, Waiters


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

    def test_work_that_fails_before_it_has_begun(self) -> None:
        """Whoever comes later begins anew."""

        def fail() -> Deferred[str]:
            raise ZeroDivisionError

        for _ in range(2):
            self.failureResultOf(self.flight.share("key", fail), ZeroDivisionError)
            self.assertTrue(self.flight.idle("key"))
