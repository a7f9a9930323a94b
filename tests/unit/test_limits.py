"""Rates, connections and deadlines, on a clock that tests turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.limits import Connections, network_of, sockets_for
from chatd.access.rate_limit import GUESSES, Bucket, Buckets, Guesses, Rate, too_fast
from chatd.protocol.errors import ChatError, Code
from chatd.timing import turn_queue
from chatd.timing.timer_wheel import Deadline, TimerWheel


class BucketTests(SynchronousTestCase):
    def test_a_burst_of_twice_the_rate(self) -> None:
        bucket = Rate(20).bucket()
        self.assertEqual([bucket.take(100.0) for _ in range(40)], [0.0] * 40)
        self.assertAlmostEqual(bucket.take(100.0), 0.05)

    def test_it_fills_with_time(self) -> None:
        bucket = Rate(2).bucket()
        for _ in range(4):
            bucket.take(0.0)
        wait = bucket.take(0.0)
        self.assertEqual(wait, 0.5)
        self.assertGreater(bucket.take(wait - 0.01), 0.0)
        self.assertEqual(bucket.take(wait), 0.0)
        self.assertGreater(bucket.take(wait), 0.0)

    def test_never_above_the_burst(self) -> None:
        bucket = Rate(2).bucket()
        self.assertEqual([bucket.take(1e9) for _ in range(4)], [0.0] * 4)
        self.assertGreater(bucket.take(1e9), 0.0)

    def test_a_slow_rate_allows_one_at_once(self) -> None:
        bucket = Rate(0.1).bucket()
        self.assertEqual(bucket.take(0.0), 0.0)
        self.assertAlmostEqual(bucket.take(0.0), 10.0)
        self.assertEqual(bucket.take(10.0), 0.0)

    def test_a_clock_set_back_gives_and_takes_nothing(self) -> None:
        bucket = Rate(1).bucket()
        self.assertEqual([bucket.take(1000.0), bucket.take(10.0)], [0.0, 0.0])
        self.assertEqual(bucket.take(10.0), 1.0)
        self.assertEqual(bucket.take(11.0), 0.0)

    def test_exactly_what_there_is(self) -> None:
        """To the last token, and none from what is less than one."""
        bucket = Rate(1, burst=3).bucket()
        self.assertEqual([bucket.take(5.0) for _ in range(4)], [0.0, 0.0, 0.0, 1.0])
        self.assertEqual(bucket.take(5.75), 0.25)
        self.assertEqual(bucket.take(6.0), 0.0)
        bucket.spend(2.0)
        self.assertEqual(bucket.wait(6.0), 3.0)
        bucket = Rate(1, burst=2.5).bucket()
        for _ in range(2):
            bucket.check(0.0)
        self.assertEqual(self.assertRaises(ChatError, bucket.check, 0.0).retry, 1)
        self.assertEqual(bucket.take(0.0), 0.5)

    def test_check(self) -> None:
        bucket = Rate(0.25).bucket()
        bucket.check(0.0)
        error = self.assertRaises(ChatError, bucket.check, 0.5)
        self.assertIs(error.code, Code.RATE_LIMITED)
        self.assertEqual(error.retry, 4)
        quick = Rate(1000).bucket()
        while not quick.take(0.0):
            pass
        self.assertEqual(self.assertRaises(ChatError, quick.check, 0.0).retry, 1)

    def test_the_wait_that_is_told_is_long_enough(self) -> None:
        for wait, told in ((0.001, "0.01"), (0.101, "0.11"), (2.0, "2.00")):
            text = Rate(20).refusal(wait).text
            self.assertEqual(text, f"At most 20 messages a second; wait {told} s.")

    @given(
        st.floats(0.01, 1000),
        st.lists(st.floats(0, 10, allow_subnormal=False), min_size=1, max_size=50),
    )
    def test_no_run_of_times_gets_more_than_the_rate(
        self, per_second: float, gaps: list[float]
    ) -> None:
        bucket, now, taken = Bucket(Rate(per_second)), 0.0, 0
        for gap in gaps:
            now += gap
            while not bucket.take(now) and taken < 100_000:
                taken += 1
            self.assertLessEqual(taken, bucket.rate.burst + per_second * now + 1e-6)


class TooFastTests(SynchronousTestCase):
    def test_who_is_given_up_may_come_back(self) -> None:
        error = too_fast()
        self.assertIs(error.code, Code.RATE_LIMITED)
        self.assertEqual(error.retry, 1)
        self.assertIn("come back later", error.text)


class BucketsTests(SynchronousTestCase):
    def test_each_key_has_its_own(self) -> None:
        buckets = Buckets(Rate(0.5))
        self.assertEqual(buckets.take(("ann", "1"), 0.0), 0.0)
        self.assertEqual(buckets.take(("ann", "2"), 0.0), 0.0)
        self.assertEqual(buckets.take(("ann", "1"), 0.0), 2.0)
        self.assertRaises(ChatError, buckets.check, ("ann", "1"), 0.0)

    def test_full_ones_are_forgotten(self) -> None:
        buckets = Buckets(Rate(1))
        for n in range(100):
            buckets.take(n, 0.0)
        self.assertEqual(len(buckets), 100)
        for n in range(100):
            buckets.take(-1, 2.0 + n / 1000)
        self.assertEqual(len(buckets), 1)

    def test_not_before_they_are_full(self) -> None:
        """Whatever the rate: else coming back would fill them."""
        for per_second in (0.1, 1, 10):
            buckets = Buckets(Rate(per_second, burst=1))
            buckets.take("ann", 0.0)
            almost = 0.9 / per_second
            for n in range(5):
                buckets.take(n, almost)
            self.assertGreater(buckets.wait("ann", almost), 0.0, per_second)
            buckets.take("other", 2.1 / per_second)
            self.assertLess(len(buckets), 7)

    def test_what_is_in_use_is_not(self) -> None:
        buckets = Buckets(Rate(1))
        now = 0.0
        for _ in range(4):
            buckets.take("busy", now)
        for n in range(100):
            now += 0.5
            buckets.take(n, now)
            buckets.take("busy", now)
        self.assertGreater(buckets.take("busy", now), 0.0)

    def test_the_one_used_longest_ago_makes_room(self) -> None:
        buckets = Buckets(Rate(1), limit=3)
        for key in ("busy", "busy", "a", "b", "busy", "c", "d"):
            buckets.take(key, 0.0)
        self.assertGreater(buckets.take("busy", 0.0), 0.0)

    def test_bounded_however_many_come_at_once(self) -> None:
        buckets = Buckets(Rate(1), limit=10)
        for n in range(1000):
            buckets.take(n, 0.0)
        self.assertEqual(len(buckets), 10)
        buckets.take(999, 0.0)
        self.assertGreater(buckets.take(999, 0.0), 0.0)


class GuessesTests(SynchronousTestCase):
    def test_one_site_of_ipv6_guesses_as_one(self) -> None:
        guesses = Guesses()
        for n in range(int(GUESSES.burst)):
            guesses.check("2001:db8:1:1::1", 0.0)
            guesses.wrong(f"2001:db8:1:1::{n:x}", 0.0)
        self.assertRaises(ChatError, guesses.check, "2001:db8:1:1:ffff::1", 0.0)
        guesses.check("2001:db8:1:2::1", 0.0)


class ConnectionsTests(SynchronousTestCase):
    def refused(self, connections: Connections, address: str) -> str:
        error = self.assertRaises(ChatError, connections.admit, address)
        self.assertIs(error.code, Code.UNAVAILABLE)
        self.assertGreater(error.retry, 0)
        return str(error.text)

    def test_in_all(self) -> None:
        connections = Connections(limit=2, per_address=2)
        release = connections.admit("192.0.2.1")
        connections.admit("192.0.2.2")
        self.refused(connections, "192.0.2.3")
        self.assertEqual(connections.total, 2)
        release()
        connections.admit("192.0.2.3")

    def test_per_address(self) -> None:
        connections = Connections(limit=10, per_address=2)
        release = connections.admit("192.0.2.1")
        connections.admit("192.0.2.1")
        self.assertIn("your address", self.refused(connections, "192.0.2.1"))
        connections.admit("192.0.2.2")
        release()
        connections.admit("192.0.2.1")

    def test_whoever_stands_for_many_counts_in_all_only(self) -> None:
        connections = Connections(limit=2, per_address=1)
        release = connections.admit(None)
        connections.admit(None)
        self.refused(connections, "192.0.2.1")
        release()
        connections.admit("192.0.2.1")

    def test_bare_ones_are_more_than_what_clients_hold_open(self) -> None:
        """As docs/security.rst says: 1.2 times as many and 100; of an address, twice and 20."""
        for held, limit, per_address in (((7, 3), 108, 26), ((50_000, 200), 60_100, 420)):
            sockets = sockets_for(*held)
            self.assertEqual((sockets.limit, sockets.per_address), (limit, per_address))
        sockets = sockets_for(7, 3)
        for n in range(108):
            sockets.admit(f"192.0.2.{n}")
        self.refused(sockets, "198.51.100.1")

    def test_released_once(self) -> None:
        connections = Connections(limit=10, per_address=1)
        release = connections.admit("192.0.2.1")
        release()
        again = connections.admit("192.0.2.1")
        release()
        self.assertEqual(connections.total, 1)
        self.refused(connections, "192.0.2.1")
        again()
        self.assertEqual(connections.total, 0)

    def test_nothing_is_kept_of_addresses_that_left(self) -> None:
        connections = Connections(limit=1, per_address=1)
        for n in range(10):
            release = connections.admit(f"192.0.2.{n}")
            self.refused(connections, "198.51.100.1")
            release()
        self.assertEqual(len(connections._by_address), 0)

    def test_one_site_of_ipv6_is_one_address(self) -> None:
        connections = Connections(limit=10, per_address=1)
        connections.admit("2001:db8:1:1::1")
        self.refused(connections, "2001:db8:1:1:ffff::2")
        connections.admit("2001:db8:1:2::1")

    def test_networks(self) -> None:
        for address, network in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::/64"),
            ("::1", "::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("unix", "unix"),
            ("", ""),
        ):
            self.assertEqual(network_of(address), network)


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.25)
        self.wheel = TimerWheel(self.clock)
        self.called: list[tuple[str, float]] = []

    def call(self, name: str) -> Callable[[], None]:
        return lambda: self.called.append((name, self.clock.seconds()))

    def names(self) -> list[str]:
        return [name for name, _ in self.called]

    def timers(self) -> int:
        return len(self.clock.getDelayedCalls())

    def test_never_early_and_hardly_late(self) -> None:
        for n in range(50):
            when = 1000.25 + n * 0.37
            self.wheel.at(when, self.call(str(when)))
        self.clock.pump([0.05] * 500)
        self.assertEqual(len(self.called), 50)
        for name, called in self.called:
            self.assertGreaterEqual(called, float(name))
            self.assertLessEqual(called, float(name) + 1.1)

    def test_the_past_is_soon(self) -> None:
        self.wheel.at(5.0, self.call("a"))
        self.wheel.after(-1.0, self.call("b"))
        self.assertEqual(self.called, [])
        self.clock.advance(1.0)
        self.assertEqual(self.names(), ["a", "b"])

    def test_one_timer_for_all_and_none_for_none(self) -> None:
        self.assertEqual(self.timers(), 0)
        deadlines = [self.wheel.after(5 + n / 10, self.call("x")) for n in range(100)]
        self.assertEqual((self.timers(), len(self.wheel)), (1, 100))
        for deadline in deadlines:
            deadline.cancel()
        self.assertEqual((self.timers(), len(self.wheel)), (0, 0))
        self.wheel.after(1, self.call("y"))
        self.clock.advance(3)
        self.assertEqual((self.timers(), self.names()), (0, ["y"]))

    def test_a_sooner_one_comes_first(self) -> None:
        self.wheel.after(60, self.call("late"))
        self.wheel.after(2, self.call("soon"))
        self.clock.advance(3)
        self.assertEqual(self.names(), ["soon"])
        self.clock.advance(60)
        self.assertEqual(self.names(), ["soon", "late"])

    def test_cancel(self) -> None:
        deadline = self.wheel.after(2, self.call("x"))
        kept = self.wheel.after(2, self.call("kept"))
        self.assertTrue(deadline.active)
        deadline.cancel()
        deadline.cancel()
        self.assertFalse(deadline.active)
        self.clock.advance(5)
        self.assertEqual(self.names(), ["kept"])
        self.assertFalse(kept.active)
        kept.cancel()
        self.assertEqual(len(self.wheel), 0)

    def test_put_off_and_brought_forward(self) -> None:
        deadline = self.wheel.after(5, self.call("x"))
        for _ in range(10):
            self.clock.advance(4)
            deadline.move(self.clock.seconds() + 5)
        self.assertEqual(self.called, [])
        deadline.move(self.clock.seconds() + 2)
        self.clock.advance(3)
        self.assertEqual(self.names(), ["x"])
        deadline.move(self.clock.seconds() + 1)
        self.clock.advance(10)
        self.assertEqual((self.names(), self.timers()), (["x"], 0))

    def test_far_away(self) -> None:
        """A token may expire in a thousand years; no slot is kept for that."""
        wheel = TimerWheel(self.clock, horizon=10)
        far = [wheel.after(3e10 + n, self.call("far")) for n in range(1000)]
        wheel.after(35, self.call("x"))
        self.assertLessEqual(len(wheel._slots), 11)
        self.clock.pump([1.0] * 40)
        self.assertEqual(self.names(), ["x"])
        self.assertLessEqual(len(wheel._slots), 11)
        for deadline in far:
            deadline.cancel()
        self.assertEqual(self.timers(), 0)

    def test_put_off_again_and_again_keeps_no_slots(self) -> None:
        deadline = self.wheel.after(60, self.call("idle"))
        for _ in range(10_000):
            self.clock.advance(0.5)
            deadline.move(self.clock.seconds() + 60)
        self.assertLessEqual(len(self.wheel._slots), 2)
        self.assertLessEqual(len(self.wheel._order), 2)

    def test_calls_that_touch_the_wheel(self) -> None:
        others: list[Deadline] = []

        def first() -> None:
            others[0].cancel()
            others[1].move(self.clock.seconds() + 10)
            others[2].move(0.0)
            self.wheel.after(1, self.call("new"))

        self.wheel.after(2, first)
        others += [self.wheel.after(2, self.call(name)) for name in ("a", "b", "c")]
        self.clock.advance(3)
        self.assertEqual(self.names(), [])
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.names(), ["c", "new"])
        self.clock.pump([1.0] * 12)
        self.assertEqual(self.names(), ["c", "new", "b"])
        self.assertEqual((self.timers(), len(self.wheel)), (0, 0))

    def test_many_that_are_due_together_are_called_in_turns(self) -> None:
        self.patch(turn_queue, "A_TURN", 2)
        seen: list[int] = []

        def first() -> None:
            others[2].cancel()
            others[3].move(self.clock.seconds() + 5)
            self.clock.callLater(0, lambda: seen.append(len(self.called)))

        self.wheel.after(2, first)
        others = [self.wheel.after(2, self.call(str(n))) for n in range(1, 6)]
        self.clock.advance(3)
        self.assertEqual((seen, self.names()), ([2], ["1", "2", "5"]))
        self.clock.pump([1.0] * 6)
        self.assertEqual(self.names()[3:], ["4"])
        self.assertEqual((self.timers(), len(self.wheel)), (0, 0))

    def test_a_call_that_fails_is_logged_and_the_others_go_on(self) -> None:
        def fail() -> None:
            raise ValueError

        self.wheel.after(2, fail)
        self.wheel.after(2, self.call("next"))
        self.clock.advance(3)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual((self.names(), len(self.wheel)), (["next"], 0))

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40), st.integers(0, 3))))
    def test_any_use_calls_each_once_when_due(self, steps: list[tuple[int, int, int]]) -> None:
        clock = Clock()
        wheel = TimerWheel(clock, resolution=0.5, horizon=8)
        due: dict[int, Deadline] = {}
        fired: list[int] = []

        def fire(key: int) -> None:
            self.assertGreaterEqual(clock.seconds(), due.pop(key).when)
            fired.append(key)

        for n, (choice, tenths, pick) in enumerate(steps):
            when = clock.seconds() + tenths / 10
            known = sorted(due)[pick : pick + 1]
            if choice < 4:
                due[n] = wheel.at(when, partial(fire, n))
            elif choice < 6:
                for key in known:
                    due[key].move(when)
            elif choice < 7:
                for key in known:
                    due.pop(key).cancel()
            else:
                clock.advance(tenths / 10)
            self.assertEqual(len(wheel), len(due))
            self.assertEqual(len(clock.getDelayedCalls()), 1 if due else 0)
            for deadline in due.values():
                self.assertLess(clock.seconds(), deadline.when + 0.5)
        clock.pump([0.5] * 20)
        self.assertEqual((due, len(set(fired))), ({}, len(fired)))
