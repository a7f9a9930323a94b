"""Whose request is next, and what an address may use."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from chatd.access import fair_queue
from chatd.access.fair_queue import (
    AT_LEAST,
    AT_ONCE,
    LOOK,
    PATIENCE,
    PER_PUBLISH,
    TURN,
    UNIT,
    FairQueue,
    QueuePlace,
    Work,
    allowance,
)
from chatd.access.rate_limit import Rate
from chatd.access.sparse_queue import SparseQueue
from tests.support.turning import Reactor


class Client:
    """A connection with requests to be done, each of which takes so many seconds of ``timer``, or
    with the handshakes of a ``newcomer``."""

    def __init__(self, tests: TurnsTests, address: str, name: str, newcomer: bool = False) -> None:
        self._tests = tests
        self._name = name
        #: In place of that of all, if it is set.
        self.cost: float | None = None
        self.pending = 0
        self.given_up = False
        place = tests.turns.handshake if newcomer else tests.turns.place
        self.place: QueuePlace = place(address, self.work, self.give_up)

    def send(self, number: int) -> None:
        """``number`` requests are read from the connection."""
        self.pending += number
        self.place.arrived()
        if not self.place.queued:
            self.work()

    def work(self) -> None:
        while self.pending and self.place.take():
            self.pending -= 1
            self._tests.now += self._tests.cost if self.cost is None else self.cost
            self._tests.clock.rightNow += self._tests.takes
            self._tests.done.append(self._name)

    def give_up(self) -> None:
        self.given_up = True


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Reactor()
        self.now = 0.0
        self.cost = 0.0001
        #: Seconds of the clock that pass during a request; others are on another clock.
        self.takes = 0.0
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

    def test_what_may_take_long_waits_though_nobody_else_does(self) -> None:
        place = self.client("1.1.1.1", "a").place
        gone: list[bool] = []
        place.go = lambda: gone.append(place.take())
        place.arrived()
        place.join()
        self.assertEqual(gone, [])
        self.clock.advance(0)
        self.assertEqual(gone, [True])

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

    def test_another_allowance_from_now_on(self) -> None:
        """Also for an address that never pauses."""
        self.cost = 0.0
        self.client("1.1.1.1", "f").send(9000)
        self.clock.advance(0)
        for rate in (1000, 4000, 500):
            self.turns.set_rate(Rate(rate))
            self.clock.advance(LOOK)
            before = len(self.done)
            for _ in range(100):
                self.clock.advance(0.01)
            self.assertTrue(0.95 <= (len(self.done) - before) / rate <= 1.05, rate)

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

    def test_who_asks_again_while_it_waits_has_one_place(self) -> None:
        places: dict[str, QueuePlace] = {}

        def go(name: str) -> None:
            self.now += TURN
            self.done.append(name)
            ask(name)

        def ask(name: str) -> None:
            for _ in range(3):
                places[name].join()
                places[name].take()

        for name in "ab":
            places[name] = self.turns.place("1.1.1.1", partial(go, name), lambda: None)
            ask(name)
        for _ in range(8):
            self.clock.advance(0)
        self.assertEqual("".join(self.done), "abababab")

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
        self.assertLess(len(self.turns._flows), 250)

    def test_a_proxys_own_probes_have_no_allowance(self) -> None:
        own, client = self.client("1.1.1.1", "own"), self.client("1.1.1.1", "client")
        own.place.moved("1.1.1.1", Work.OWN_PROBE)
        client.place.moved("1.1.1.1", Work.PROBE)
        own.send(5000)
        client.send(5000)
        self.turns.set_rate(self.turns.rate)
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

    def faulty(self, address: str) -> Client:
        """A client of whose requests the first that has to wait fails."""
        client = self.client(address, "faulty")
        client.send(AT_ONCE + 5)

        def go() -> None:
            client.place.take()
            raise RuntimeError("a fault of one request")

        client.place.go = go
        return client

    def test_a_request_that_fails_ends_its_connection_alone(self) -> None:
        """Of the same address, and of others."""
        faulty = self.faulty("1.1.1.1")
        others = [self.client(address, "o") for address in ("1.1.1.1", "2.2.2.2")]
        for one in others:
            one.send(5)
        for _ in range(20):
            self.clock.advance(0)
        self.assertEqual(self.done.count("o"), 10)
        self.assertTrue(faulty.given_up)
        self.assertFalse(faulty.place.queued)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_cannot_be_given_up_holds_nobody_up(self) -> None:
        self.cost = 0.0
        self.turns = FairQueue(self.clock, Rate(1, burst=AT_ONCE), timer=lambda: self.now)
        floods = [self.client("1.1.1.1", "f") for _ in range(2)]
        for flood in floods:
            flood.send(1000)

        def give_up() -> None:
            raise RuntimeError("a fault of one connection")

        floods[0].place.give_up = give_up
        self.wait(int(PATIENCE) + 5)
        self.assertTrue(floods[1].given_up)
        self.assertTrue(self.flushLoggedErrors(RuntimeError))
        other = self.client("2.2.2.2", "o")
        other.send(AT_ONCE + 1)
        self.wait(1)
        self.assertEqual(other.pending, 0)

    def test_the_allowance_follows_the_rate_of_publishes(self) -> None:
        self.assertEqual(allowance(Rate(0.1)).per_second, AT_LEAST)
        self.assertEqual(allowance(Rate(5000)).per_second, 5000 * PER_PUBLISH)

    def test_nobody_goes_past_those_who_wait(self) -> None:
        """Not even a connection that asks for the first time, whatever its address."""
        self.client("1.1.1.1", "f").send(AT_ONCE + 5)
        for address in ("1.1.1.1", "2.2.2.2"):
            self.client(address, "o").send(1)
        self.assertNotIn("o", self.done)
        for _ in range(5):
            self.clock.advance(0)
        self.assertEqual(self.done.count("o"), 2)

    def test_nor_where_an_address_waits_for_its_allowance(self) -> None:
        """Some of it is back, but others have waited for longer."""
        self.cost = 0.0
        flood = self.client("1.1.1.1", "f")
        flood.send(5000)
        self.clock.advance(0)
        self.clock.advance(0)
        self.clock.advance(0.004)
        other, elsewhere = self.client("1.1.1.1", "o"), self.client("2.2.2.2", "e")
        other.send(1)
        elsewhere.send(1)
        self.assertEqual((other.pending, elsewhere.pending), (1, 0))
        self.clock.advance(LOOK)
        self.clock.advance(0)
        self.assertEqual(other.pending, 0)

    def test_a_turn_lasts_as_long_as_it_may(self) -> None:
        self.cost = TURN / 4
        self.client("1.1.1.1", "f").send(AT_ONCE + 100)
        for turn in range(1, 5):
            self.clock.advance(0)
            self.assertEqual(len(self.done), AT_ONCE + 4 * turn)

    def test_one_that_takes_long_ends_the_turn(self) -> None:
        self.cost = 10 * TURN
        self.client("1.1.1.1", "f").send(AT_ONCE + 100)
        for turn in range(1, 5):
            self.clock.advance(0)
            self.assertEqual(len(self.done), AT_ONCE + turn)

    def each_sends_one(self, number: int, cost: float) -> list[Client]:
        """So many clients from everywhere, each with a request that takes ``cost`` seconds."""
        self.cost = self.takes = cost
        clients = [self.client(f"1.1.{n}.1", f"{n}") for n in range(number)]
        for one in clients:
            one.send(1)
        return clients

    def test_what_many_ask_at_once_is_bounded_by_its_time(self) -> None:
        """In one turn of the reactor, not by its number: each asks for one thing."""
        self.each_sends_one(100, 20 * TURN)
        self.assertLessEqual(len(self.done), 2)
        for turn in range(1, 11):
            self.clock.advance(0)
            self.assertLessEqual(len(self.done), 2 + turn)

    def test_what_takes_little_is_bounded_likewise(self) -> None:
        self.each_sends_one(300, TURN / 10)
        self.assertTrue(19 <= len(self.done) <= 22, len(self.done))
        for _ in range(30):
            self.clock.advance(0)
        self.assertEqual(len(self.done), 300)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_comes_singly_does_not_wait(self) -> None:
        """However much it is in all, and however long it takes."""
        self.cost = self.takes = TURN / 2
        for n in range(1000):
            self.client(f"1.1.{n % 250}.1", "o").send(1)
            self.assertEqual(len(self.done), n + 1)
            self.clock.advance(0)
        self.cost = self.takes = 20 * TURN
        for n in range(1000, 1010):
            self.client(f"1.1.{n % 250}.1", "o").send(1)
            self.assertEqual(len(self.done), n + 1)
            self.clock.advance(0.1)

    def test_time_in_which_nothing_is_done_is_no_work(self) -> None:
        """Nothing is called for the sake of each request."""
        calls = 0
        self.cost = self.takes = TURN / 100
        for n in range(1000):
            self.client(f"1.1.{n % 250}.1", "o").send(1)
            calls += len(self.clock.getDelayedCalls())
            self.clock.advance(1)
        self.assertLessEqual(calls, 10)
        self.assertEqual(len(self.done), 1000)

    def test_nothing_is_to_be_called_when_nobody_waits(self) -> None:
        self.client("1.1.1.1", "f").send(AT_ONCE + 3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_address_is_looked_at_again_when_its_allowance_is_back(self) -> None:
        """No sooner: each look costs a turn of the reactor."""
        self.turns = FairQueue(self.clock, Rate(10, burst=AT_ONCE), timer=lambda: self.now)
        self.client("1.1.1.1", "f").send(AT_ONCE + 1)
        self.clock.advance(0)
        [call] = self.clock.getDelayedCalls()
        self.assertAlmostEqual(call.getTime(), 0.1)
        self.clock.advance(0.1)
        self.clock.advance(0)
        self.assertEqual(len(self.done), AT_ONCE + 1)

    def test_an_allowance_is_remembered_until_it_is_back(self) -> None:
        """Whoever else comes meanwhile."""
        self.cost = 0.0
        first = self.client("1.1.1.1", "f")
        for _ in range(20):
            first.send(100)
            for _ in range(100):
                self.clock.advance(0)
        self.assertEqual(len(self.done), 2000)
        for n in range(100):
            self.client(f"2.2.2.{n}", "o").send(1)
        self.clock.advance(1.9)
        again = self.client("1.1.1.1", "f")
        self.client("2.2.2.2", "o").send(1)
        again.send(3000)
        for _ in range(3000):
            self.clock.advance(0)
        self.assertEqual(self.done.count("f"), 3900)

    def test_the_addresses_that_are_remembered_are_bounded(self) -> None:
        self.patch(fair_queue, "ADDRESSES", 10)
        for n in range(100):
            self.client(f"1.1.1.{n}", "o").send(1)
            self.assertLessEqual(len(self.turns._flows), 11)
        self.assertGreaterEqual(len(self.turns._flows), 10)

    def test_who_waits_is_not_forgotten(self) -> None:
        """It would have a whole allowance again."""
        self.patch(fair_queue, "ADDRESSES", 10)
        self.cost = 0.0
        self.turns = FairQueue(self.clock, Rate(1, burst=20), timer=lambda: self.now)
        floods = [self.client(f"1.1.1.{n}", f"f{n}") for n in range(20)]
        for flood in [*floods, *floods]:
            flood.send(50)
            self.clock.advance(0)
        self.assertEqual([flood.pending for flood in floods], [80] * 20)

    def test_among_many_who_asks_seldom_goes_first(self) -> None:
        """An address among addresses, a connection among those of its address."""
        self.cost = TURN
        floods = [self.client(f"1.1.1.{n}", "f") for n in range(5)]
        floods += [self.client("1.1.1.0", "f") for _ in range(3)]
        for flood in floods:
            flood.send(1000)
        for _ in range(250):
            self.clock.advance(0)
        for address, most in (("2.2.2.2", 2), ("1.1.1.0", 12)):
            other = self.client(address, address)
            before = len(self.done)
            other.send(1)
            while other.pending:
                self.clock.advance(0)
            self.assertLess(self.done[before:].index(address), most)

    def test_a_crowd_that_comes_does_not_hold_up_those_who_talk(self) -> None:
        """Nor they it: if both have more than can be done, each is done half of the time."""
        self.cost = 2 * TURN
        for n in range(1000):
            newcomer = Client(self, f"1.1.{n // 200}.{n % 200}", "h", newcomer=True)
            newcomer.pending = 1
            newcomer.work()
        talker = self.client("2.2.2.2", "t")
        for _ in range(20):
            talker.send(1)
            for _ in range(2):
                self.clock.advance(0)
            self.assertEqual(talker.pending, 0)
        for n in range(4):
            one = self.client(f"2.2.2.{n}", "t")
            one.cost = TURN
            one.send(50)
        self.done.clear()
        for _ in range(90):
            self.clock.advance(0)
        self.assertIn(self.done.count("h"), range(28, 33))
        self.assertIn(self.done.count("t"), range(58, 63))

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.clock.advance(0)

    def test_when_one_is_given_up(self) -> None:
        self.wait(100)
        self.turns = FairQueue(self.clock, Rate(1, burst=AT_ONCE), timer=lambda: self.now)
        flood = self.client("1.1.1.1", "f")
        for _ in range(2):  # whoever comes back has as much patience again
            flood.given_up = False
            flood.send(1000)
            self.clock.advance(0)
            self.wait(int(PATIENCE) - 1)
            self.assertFalse(flood.given_up)
            self.wait(3)
            self.assertTrue(flood.given_up)
            self.assertFalse(flood.place.queued)

    def test_who_has_more_than_is_read_has_not_caught_up(self) -> None:
        """While it is in line nothing is read from it, so that its line ends all the time."""
        self.turns = FairQueue(self.clock, Rate(10, burst=AT_ONCE), timer=lambda: self.now)
        for behind in (True, False):
            flood = self.client("1.1.1.1", "f")
            flood.place.behind = partial(bool, behind)
            for _ in range(int(PATIENCE) * 20 + 100):
                if not flood.pending:
                    flood.send(15)
                self.clock.advance(0.05)
            self.assertIs(flood.given_up, behind)
            flood.place.leave()

    def test_who_was_behind_and_is_not_any_more(self) -> None:
        """It is not given up when it asks for too much again, long after."""
        self.turns = FairQueue(self.clock, Rate(1, burst=AT_ONCE), timer=lambda: self.now)
        client = self.client("1.1.1.1", "c")
        client.place.behind = lambda: True
        for _ in range(3):
            client.send(AT_ONCE + 5)
            self.wait(int(PATIENCE))
        self.assertFalse(client.given_up)

    def test_an_allowance_that_is_used_up_is_not_forgotten(self) -> None:
        """By one that asks all the time, or by many who wait for it, when somebody else comes."""
        for clients, seconds in ((1, 25), (30, 1)):
            self.turns = FairQueue(self.clock, Rate(1, burst=AT_ONCE), timer=lambda: self.now)
            flood = [self.client("1.1.1.1", "f") for _ in range(clients)]
            flood[0].send(AT_ONCE)
            for _ in range(seconds):
                self.clock.advance(1)
                for one in flood:
                    one.send(1)
            self.wait(25 - seconds)
            self.client("2.2.2.2", "o").send(1)
            before = len(self.done)
            self.client("1.1.1.1", "f").send(AT_ONCE)
            self.assertLess(len(self.done) - before, 2)

    def test_a_turn_that_is_not_used_is_over(self) -> None:
        place = self.client("1.1.1.1", "a").place
        place.join()
        self.clock.advance(0)
        self.assertFalse(place.take())

    def test_an_address_whose_connections_have_gone_waits_for_none(self) -> None:
        gone = self.client("1.1.1.1", "gone").place
        gone.join()
        gone.leave()
        self.clock.advance(0)
        self.client("1.1.1.1", "a").send(1)
        self.assertEqual(self.done, ["a"])

    def test_who_catches_up_in_between_is_not_given_up(self) -> None:
        self.turns = FairQueue(self.clock, Rate(1, burst=AT_ONCE), timer=lambda: self.now)
        client = self.client("1.1.1.1", "c")
        for _ in range(5):
            client.send(AT_ONCE + 30)
            self.wait(int(PATIENCE) - 1)
            self.assertEqual(client.pending, 0)
        self.assertFalse(client.given_up)

    def test_a_turn_that_is_given_back(self) -> None:
        """Whoever is next on the connection has it; no other request does."""
        turns = FairQueue(self.clock, Rate(1, burst=1))
        place = turns.place("192.0.2.1", lambda: None, lambda: None)
        place.arrived()
        self.assertTrue(place.take())
        place.give_back()
        self.assertTrue(place.take())
        self.assertFalse(place.take())


class OrderTests(SynchronousTestCase):
    """Those that ask seldom go first, but at most every other time."""

    def order(self, *joins: tuple[str, bool]) -> str:
        waiting: SparseQueue[str] = SparseQueue()
        for one, seldom in joins:
            waiting.join(one, seldom)
        self.assertEqual(waiting.number, len(joins))
        self.assertEqual(sorted(waiting), sorted(one for one, _ in joins))
        order = "".join(waiting.next() for _ in joins)
        self.assertFalse(waiting.number)
        self.assertRaises(IndexError, waiting.next)
        return order

    def test_of_both_kinds(self) -> None:
        often, seldom = [(one, False) for one in "123"], [(one, True) for one in "abc"]
        self.assertEqual(self.order(*often, *seldom), "a1b2c3")
        self.assertEqual(self.order(*seldom, *often), "a1b2c3")
        self.assertEqual(self.order(*often), "123")
        self.assertEqual(self.order(*seldom), "abc")
        self.assertEqual(self.order(*often, seldom[0]), "a123")
        self.assertEqual(self.order(often[0], *seldom), "a1bc")
