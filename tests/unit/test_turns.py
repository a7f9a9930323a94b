"""Whose request is next, and how much is held for who does not read."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.rate_limit import Rate
from chatd.access.turns import (
    AT_LEAST,
    AT_ONCE,
    PATIENCE,
    PER_PUBLISH,
    UNIT,
    FairQueue,
    QueuePlace,
    Work,
    allowance,
)
from chatd.access.unread import WORTH_TRIMMING, Unread


class Reactor(Clock):
    """A clock with turns: what is to be called at once in one is called in the next."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            self.calls.remove(call)
        for call in due:
            call.called = 1
            call.func(*call.args, **call.kw)


class Client:
    """A connection with requests to be done, each of which takes so many seconds of ``timer``."""

    def __init__(self, tests: TurnsTests, address: str, name: str) -> None:
        self._tests = tests
        self._name = name
        self.pending = 0
        self.given_up = False
        self.place: QueuePlace = tests.turns.place(address, self.work, self.give_up)

    def send(self, number: int) -> None:
        """``number`` requests are read from the connection."""
        self.pending += number
        self.place.arrived()
        if not self.place.queued:
            self.work()

    def work(self) -> None:
        while self.pending and self.place.take():
            self.pending -= 1
            self._tests.now += self._tests.cost
            self._tests.done.append(self._name)

    def give_up(self) -> None:
        self.given_up = True


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Reactor()
        self.now = 0.0
        self.cost = 0.0001
        self.done: list[str] = []
        self.turns = FairQueue(self.clock, Rate(1000), timer=lambda: self.now)

    def client(self, address: str, name: str) -> Client:
        return Client(self, address, name)

    def test_who_asks_little_does_not_wait(self) -> None:
        self.client("1.1.1.1", "a").send(AT_ONCE)
        self.assertEqual(self.done, ["a"] * AT_ONCE)

    def test_who_asks_for_more_waits_however_often_it_asks(self) -> None:
        """And is not done any more once it has left, nor keeps a place."""
        place = self.client("1.1.1.1", "a").place
        place.arrived()
        self.assertEqual([place.take() for _ in range(AT_ONCE)], [True] * AT_ONCE)
        self.assertEqual([place.take() for _ in range(5)], [False] * 5)
        self.assertTrue(place.queued)
        place.leave()
        self.assertFalse(place.queued)

    def test_a_turn_of_the_reactor_is_bounded(self) -> None:
        flood = self.client("1.1.1.1", "f")
        flood.send(1000)
        for _ in range(20):
            before = len(self.done)
            self.clock.advance(0)
            self.assertLessEqual(len(self.done) - before, 31)
        self.assertGreater(len(self.done), 50)

    def test_connections_of_an_address_take_turns(self) -> None:
        floods = [self.client("1.1.1.1", "f") for _ in range(20)]
        for one in floods:
            one.send(500)
        other = self.client("1.1.1.1", "o")
        other.send(1)
        before = len(self.done)
        while other.pending:
            self.clock.advance(0)
        self.assertLessEqual(self.done[before:].index("o"), 21)

    def test_addresses_take_turns(self) -> None:
        for _ in range(100):
            self.client("1.1.1.1", "f").send(100)
        other = self.client("2.2.2.2", "o")
        other.send(1)
        before = len(self.done)
        while other.pending:
            self.clock.advance(0)
        self.assertLessEqual(self.done[before:].index("o"), 3)

    def test_an_allowance_comes_back_with_time(self) -> None:
        flood = self.client("1.1.1.1", "f")
        flood.send(5000)
        for _ in range(1000):
            self.clock.advance(0)
        self.assertEqual(len(self.done), 2000)  # the burst
        for _ in range(100):
            self.clock.advance(0.01)
        self.assertTrue(2970 <= len(self.done) <= 3030, len(self.done))

    def test_what_takes_long_counts_for_several(self) -> None:
        self.cost = 8 * UNIT
        flood = self.client("1.1.1.1", "f")
        flood.send(5000)
        for _ in range(1000):
            self.clock.advance(0)
        self.assertTrue(250 <= len(self.done) <= 270, len(self.done))
        for _ in range(100):
            self.clock.advance(0.01)
        self.assertTrue(340 <= len(self.done) <= 400, len(self.done))

    def test_who_asks_seldom_goes_first(self) -> None:
        floods = [self.client(f"1.1.{n}.{n}", "f") for n in range(20) for _ in range(20)]
        for one in floods:
            one.send(500)
        for _ in range(500):
            self.clock.advance(0)
        for address in ("1.1.1.1", "2.2.2.2"):  # beside a flood, and from elsewhere
            other = self.client(address, address)
            other.send(1)
            before = len(self.done)
            while other.pending:
                self.clock.advance(0)
            self.assertLessEqual(self.done[before:].index(address), 5)

    def test_those_who_ask_all_the_time_are_not_kept_waiting_for_ever(self) -> None:
        flood = self.client("1.1.1.1", "f")
        flood.send(1000)
        for _ in range(10):
            self.clock.advance(0)
            for n in range(20):
                self.client("1.1.1.1", f"o{n}").send(1)
        self.assertGreater(self.done.count("f"), 40)

    def test_addresses_are_forgotten(self) -> None:
        for n in range(1000):
            self.client(f"1.1.{n // 250}.{n % 250}", "o").send(1)
            self.clock.advance(0.01)
        self.assertLess(len(self.turns._lanes), 250)

    def test_a_proxys_own_probes_have_no_allowance(self) -> None:
        own, client = self.client("1.1.1.1", "own"), self.client("1.1.1.1", "client")
        own.place.moved("1.1.1.1", Work.OWN_PROBE)
        client.place.moved("1.1.1.1", Work.PROBE)
        own.send(5000)
        client.send(5000)
        for _ in range(2000):
            self.clock.advance(0)
        self.assertEqual(self.done.count("own"), 5000)
        self.assertLess(self.done.count("client"), 2100)

    def test_who_is_over_it_for_long_is_given_up(self) -> None:
        self.cost = 0.0
        flood, other = self.client("1.1.1.1", "f"), self.client("1.1.1.1", "o")
        for _ in range(int(PATIENCE) + 30):
            flood.send(5000)
            other.send(1)
            for _ in range(20):
                self.clock.advance(0.05)
        self.assertTrue(flood.given_up)
        self.assertFalse(other.given_up)

    def test_who_has_gone_is_not_called(self) -> None:
        flood = self.client("1.1.1.1", "f")
        flood.send(100)
        flood.place.leave()
        before = len(self.done)
        for _ in range(10):
            self.clock.advance(0.1)
        self.assertEqual(len(self.done), before)
        self.assertFalse(self.clock.getDelayedCalls())

    def test_the_allowance_follows_the_rate_of_publishes(self) -> None:
        self.assertEqual(allowance(Rate(0.1)).per_second, AT_LEAST)
        self.assertEqual(allowance(Rate(5000)).per_second, 5000 * PER_PUBLISH)

    def test_a_turn_that_is_given_back(self) -> None:
        """Whoever is next on the connection has it; no other request does."""
        turns = FairQueue(self.clock, Rate(1, burst=1))
        place = turns.place("192.0.2.1", lambda: None, lambda: None)
        place.arrived()
        self.assertTrue(place.take())
        place.give_back()
        self.assertTrue(place.take())
        self.assertFalse(place.take())


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
