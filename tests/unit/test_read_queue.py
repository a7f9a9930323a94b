"""Reads of the past wait in line, and all that wait may fail at once."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Unavailable
from chatd.rooms.read_queue import PATIENCE, READS, ReadQueue

#: More than Python's stack holds, if each begins inside the other.
MANY = 2000


class ReadQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.queue = ReadQueue(self.clock)
        self.reads: list[Deferred[str]] = []
        self.away = False

    def read(self) -> Deferred[str]:
        """A read that has ended when it is fired; at once, if the broker is away."""
        if self.away:
            return fail(Unavailable("away"))
        self.reads.append(Deferred())
        return self.reads[-1]

    def ask(self, asker: str = "192.0.2.1") -> Deferred[str]:
        return Deferred.fromCoroutine(self.queue.run(asker, self.read))

    def test_askers_take_turns(self) -> None:
        for _ in range(READS):
            self.ask()
        much = [self.ask() for _ in range(3)]
        other = self.ask("192.0.2.2")
        for n in range(2):
            self.reads[n].callback("")
        self.reads[READS].callback("much")
        self.reads[READS + 1].callback("other")
        self.assertEqual(self.successResultOf(much[0]), "much")
        self.assertEqual(self.successResultOf(other), "other")
        self.assertNoResult(much[1])

    def test_so_many_at_once(self) -> None:
        asked = [self.ask() for _ in range(READS + 2)]
        self.assertEqual(len(self.reads), READS)
        self.reads[1].callback("one")
        self.assertEqual(self.successResultOf(asked[1]), "one")
        self.assertEqual(len(self.reads), READS + 1)
        self.reads[0].errback(Unavailable("away"))
        self.failureResultOf(asked[0], Unavailable)
        self.assertEqual(len(self.reads), READS + 2)

    def test_nobody_waits_for_ever(self) -> None:
        for _ in range(READS):
            self.ask()
        early = self.ask()
        self.clock.advance(PATIENCE - 1)
        late = [self.ask(), self.ask("192.0.2.2")]
        self.assertNoResult(early)
        self.clock.advance(1)
        self.failureResultOf(early, Unavailable)
        for read in self.reads[:2]:
            read.callback("")
        for read in self.reads[READS:]:
            read.callback("late")
        self.assertEqual([self.successResultOf(one) for one in late], ["late", "late"])
        self.clock.advance(2 * PATIENCE)
        self.assertEqual(len(self.reads), READS + 2, "the one that was given up is not read")

    def test_who_does_not_wait_any_more(self) -> None:
        for _ in range(READS):
            self.ask()
        left, other = self.ask(), self.ask("192.0.2.2")
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.reads[0].callback("")
        self.reads[READS].callback("other")
        self.assertEqual(self.successResultOf(other), "other")
        self.assertEqual(len(self.reads), READS + 1)

    def test_the_broker_goes_while_many_wait(self) -> None:
        asked = [self.ask(f"192.0.2.{n % 200}") for n in range(MANY)]
        self.away = True
        for read in list(self.reads):
            read.errback(Unavailable("away"))
        for one in asked:
            self.failureResultOf(one, Unavailable)
        self.away = False
        again = self.ask()
        self.reads[-1].callback("is back")
        self.assertEqual(self.successResultOf(again), "is back")
