"""What a node keeps of a room in memory: bounds, expiry, and the window of ids."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import WINDOW, Claim, Message
from chatd.protocol.timestamps import FIRST
from chatd.rooms.cache import (
    ALSO,
    MINUTE,
    RECENT_BYTES,
    RECENT_MESSAGES,
    CacheBudget,
    RecentMessages,
    weight,
)
from chatd.rooms.deduplication import DeduplicationWindow


def message(offset: int, time: int = 1000, size: int = 100) -> Message:
    """A message whose JSON is ``size`` bytes long."""
    return Message(Cursor("e", offset), f"m{offset}", "ann", "hi", time, b"x" * size)


SMALL = weight(message(0))


def offsets(messages: Iterable[Message] | None) -> list[int] | None:
    return None if messages is None else [m.offset for m in messages]


class RecentTests(TestCase):
    def setUp(self) -> None:
        self.budget = CacheBudget()
        self.recent = RecentMessages(self.budget)

    def fill(self, *numbers: int, size: int = 100) -> None:
        self.recent.extend([message(n, size=size) for n in numbers])

    def test_knows_all_that_came_after_its_floor(self) -> None:
        self.recent.clear(9)
        self.fill(10, 12, 15)
        self.assertEqual(offsets(self.recent.after(9, 0, 100)), [10, 12, 15])
        self.assertEqual(offsets(self.recent.after(11, 0, 100)), [12, 15])
        self.assertEqual(offsets(self.recent.after(15, 0, 100)), [])
        self.assertIsNone(self.recent.after(8, 0, 100))

    def test_bounded_in_number(self) -> None:
        self.fill(*range(RECENT_MESSAGES))
        self.assertEqual(len(self.recent), RECENT_MESSAGES)
        self.fill(RECENT_MESSAGES)
        also = RECENT_MESSAGES // ALSO  # so that not each of the next ones costs a look
        self.assertIsNone(self.recent.after(also - 1, 0, 1))
        self.assertEqual(offsets(self.recent.after(also, 0, 1)), [also + 1])
        self.fill(*range(RECENT_MESSAGES + 1, RECENT_MESSAGES + also + 1))
        self.assertEqual(len(self.recent), RECENT_MESSAGES)
        self.assertEqual(self.budget.used, self.recent.size)

    def test_bounded_in_bytes(self) -> None:
        size = (RECENT_BYTES // 4 - SMALL + 200) // 2
        self.fill(0, 1, 2, 3, 4, size=size)
        self.assertEqual(len(self.recent), 4)
        self.assertEqual(self.recent.size, 4 * weight(message(0, size=size)))
        self.assertEqual(self.budget.used, self.recent.size)

    def test_keeps_no_more_than_the_retention(self) -> None:
        recent = RecentMessages(self.budget, limit=2 * SMALL + 50)
        recent.extend([message(n) for n in range(5)])
        self.assertEqual(len(recent), 2)

    def test_an_answer_is_bounded_in_number_and_bytes(self) -> None:
        self.fill(*range(20))
        self.assertEqual(offsets(self.recent.after(-1, 0, 3)), [0, 1, 2])
        for size, count in ((200, 2), (201, 3), (250, 3), (300, 3)):
            self.assertEqual(offsets(self.recent.after(-1, 0, 100, size)), [*range(count)])
            found = self.recent.earlier(20, 0, 100, size)
            assert found is not None
            self.assertEqual(len(found[0]), count)

    def test_what_expires_together_is_freed_together(self) -> None:
        for n in range(4):
            self.recent.extend([message(n, 1000 * n)])
        self.recent.expire(2500)
        self.assertEqual((len(self.recent), self.budget.used), (1, SMALL))
        self.assertEqual(self.recent.size, SMALL)

    def test_looking_back(self) -> None:
        def earlier(before: int, limit: int, size: int = 10_000) -> tuple[list[int], bool] | None:
            found = self.recent.earlier(before, 0, limit, size)
            return None if found is None else ([m.offset for m in found[0]], found[1])

        self.fill(*range(20))
        self.assertEqual(earlier(99, 3), ([17, 18, 19], True))
        self.assertEqual(earlier(3, 3), ([0, 1, 2], False))
        self.assertEqual(earlier(3, 2), ([1, 2], True))
        self.assertEqual(earlier(3, 0), ([], True))
        self.assertEqual(earlier(0, 3), ([], False))
        self.assertEqual(earlier(20, 100, size=250), ([17, 18, 19], True))
        self.recent.clear(9)
        self.fill(10, 12, 15)
        self.assertEqual(earlier(15, 1), ([12], True))
        self.assertIsNone(earlier(15, 2))  # whether there are older ones is not known here

    def test_nothing_is_taken_from_both_sides_of_what_has_expired(self) -> None:
        for n, time in enumerate([1000, 3000, 1500, 4000]):
            self.recent.extend([message(n, time)])
        self.assertIsNone(self.recent.after(-1, 1001, 100))
        self.assertEqual(offsets(self.recent.after(0, 2000, 100)), [1])
        self.assertIsNone(self.recent.after(1, 2000, 100), "there is a gap to be told of")
        self.assertEqual(offsets(self.recent.after(2, 2000, 100)), [3])
        self.assertIsNone(self.recent.earlier(4, 2000, 100, 10_000))
        self.assertEqual(self.budget.used, self.recent.size)

    def test_the_last_so_many(self) -> None:
        self.fill(*range(5))
        self.assertEqual(self.recent.before_last(2, 0), 2)
        self.assertEqual(self.recent.before_last(5, 0), -1)
        self.assertEqual(self.recent.before_last(9, 0), -1)  # there are no more
        self.recent.expire(1)
        self.recent.clear(7)
        self.fill(8, 9)
        self.assertEqual(self.recent.before_last(2, 0), 7)
        self.assertIsNone(self.recent.before_last(3, 0))  # the broker may have more

    def test_since_a_time(self) -> None:
        for n in range(4):
            self.recent.extend([message(n, 1000 * n)])
        self.assertEqual(self.recent.before_time(1001, 0), 1)
        self.assertEqual(self.recent.before_time(2000, 0), 1)
        self.assertEqual(self.recent.before_time(0, 0), -1)
        self.assertEqual(self.recent.before_time(9000, 0), 3)
        self.recent.expire(500)
        self.assertIsNone(self.recent.before_time(0, 0))  # the first one may be older

    def test_where_only_the_very_first_is_not_here(self) -> None:
        """It lies at the offset 0, so that the floor is 0: there is something before it."""
        for first in (0, 1):
            self.recent.clear(first - 1)
            self.fill(*range(first, 4))
            known = first == 0
            self.assertEqual(self.recent.earlier(4, 0, 9, 10_000) is not None, known)
            self.assertEqual(self.recent.before_last(9, 0), -1 if known else None)
            self.assertEqual(self.recent.before_time(0, 0), -1 if known else None)
            self.assertEqual(self.recent.after(-1, 0, 9) is not None, known)

    def test_where_nothing_is_here(self) -> None:
        for floor in (-1, 0, 7):
            self.recent.clear(floor)
            new = floor < 0  # the room has no messages yet
            self.assertEqual(self.recent.before_time(0, 0), floor if new else None)
            self.assertEqual(self.recent.before_last(1, 0), floor if new else None)
            earlier = self.recent.earlier(floor + 1, 0, 9, 10_000)
            self.assertEqual(earlier, ([], False) if new else None)
            self.assertEqual(self.recent.after(floor, 0, 9), [])
            self.assertIsNone(self.recent.newest)

    def test_what_was_forgotten_is_not_said_to_be_gone(self) -> None:
        self.fill(0, 1, 4)
        for _ in range(2):
            self.budget.used -= self.recent.forget()
            self.assertEqual((len(self.recent), self.recent.size, self.budget.used), (0, 0, 0))
            self.assertIsNone(self.recent.after(3, 0, 9))
            self.assertEqual(self.recent.after(4, 0, 9), [])
        self.fill(5)
        self.assertEqual(offsets(self.recent.after(4, 0, 9)), [5])

    def test_how_many_come_in_a_minute(self) -> None:
        now = 10 * MINUTE
        self.assertEqual(self.recent.rate(now), 0)
        for n, time in enumerate([now - MINUTE - 1, now - MINUTE, now - 1000, now]):
            self.recent.extend([message(n, time)])
        self.assertEqual(self.recent.rate(now), 3)
        self.recent.clear(-1)
        self.recent.extend([message(0, now - 1000), message(1, now)])
        self.assertEqual(self.recent.rate(now), 2, "there are no others")

    def test_how_many_come_in_a_minute_of_which_only_a_part_is_here(self) -> None:
        now = 10 * MINUTE
        for floor in (0, 7):
            self.recent.clear(floor)
            self.recent.extend([message(floor + n, now - 1000 * (10 - n)) for n in range(1, 6)])
            self.assertEqual(self.recent.rate(now), 5 * MINUTE / 9000)
            self.recent.clear(floor)
            self.recent.extend([message(floor + 1, now)])
            self.assertEqual(self.recent.rate(now), MINUTE, "all in the same millisecond")
            self.assertEqual(self.recent.rate(now - 10), MINUTE, "by a clock that is behind")

    def test_the_room_that_is_alone_keeps_what_it_has_however_much(self) -> None:
        budget = CacheBudget(limit=SMALL)
        recent = RecentMessages(budget)
        recent.extend([message(n) for n in range(4)])
        self.assertEqual(len(recent), 4)

    def test_two_rooms_may_have_as_much_as_there_is_and_no_more(self) -> None:
        budget = CacheBudget(limit=8 * SMALL)
        rooms = [RecentMessages(budget) for _ in range(2)]
        for recent in rooms:
            recent.extend([message(n) for n in range(4)])
        self.assertEqual([len(recent) for recent in rooms], [4, 4])
        rooms[1].extend([message(4)])
        self.assertEqual([len(recent) for recent in rooms], [0, 5])

    def test_all_rooms_together_are_bounded_and_the_quiet_forget_first(self) -> None:
        budget = CacheBudget(limit=10 * SMALL)
        rooms = [RecentMessages(budget) for _ in range(3)]
        for number, recent in enumerate(rooms):
            recent.extend([message(n) for n in range(4)])
            self.assertLessEqual(budget.used, 10 * SMALL, number)
        self.assertEqual([len(recent) for recent in rooms], [0, 4, 4])
        self.assertIsNone(rooms[0].after(0, 0, 10))
        self.assertEqual(offsets(rooms[0].after(3, 0, 10)), [])
        rooms[1].extend([message(9)])
        rooms[0].extend([message(n, size=400) for n in (4, 5)])
        self.assertEqual([len(recent) for recent in rooms], [2, 5, 0])
        self.assertEqual(budget.used, sum(recent.size for recent in rooms))

    def test_a_room_that_nobody_takes_part_in_any_more_leaves_nothing(self) -> None:
        """Rooms come and go for as long as a node runs."""
        left = []
        for _ in range(3):
            recent = RecentMessages(self.budget)
            recent.extend([message(0), message(1)])
            recent.clear(-1)
            left.append(weakref.ref(recent))
        del recent
        self.assertEqual([gone() for gone in left], [None] * 3)
        self.assertEqual(self.budget.used, 0)

    def test_many_small_rooms_make_way_for_a_large_one(self) -> None:
        """However many they are: what comes is neither lost nor late because of them."""
        budget = CacheBudget(limit=2000 * SMALL)
        rooms = [RecentMessages(budget) for _ in range(2000)]
        for recent in rooms:
            recent.extend([message(0)])
        large = RecentMessages(budget)
        large.extend([message(0, size=250_000)])
        self.assertEqual(len(large), 1)
        self.assertLessEqual(budget.used, 2000 * SMALL)
        self.assertEqual(budget.used, large.size + sum(recent.size for recent in rooms))
        self.assertEqual([len(rooms[0]), len(rooms[-1])], [0, 1])


#: Milliseconds for which the ids of these tests are remembered.
AGE = 1000


class WindowTests(TestCase):
    def test_keys_that_are_alike_are_told_apart(self) -> None:
        """By their lowest byte they are found, by their lowest twelve bits they are counted."""
        for before in (0, 500):
            window = DeduplicationWindow(AGE)
            for other in range(before):
                window.repeats(other << 16 | 7, Claim(0))
            for key in (0x1001, 0x2001, 0x3101, 0x12001):
                self.assertFalse(window.repeats(key, Claim(0)), hex(key))
                self.assertTrue(window.repeats(key, Claim(0)), hex(key))

    def test_a_key_is_remembered_for_exactly_the_window(self) -> None:
        window = DeduplicationWindow(AGE)
        self.assertFalse(window.repeats(-2, Claim(0)))
        for other in range(WINDOW - 1):
            self.assertFalse(window.repeats(other, Claim(0)))
        self.assertTrue(window.knows(-2, 0))
        self.assertTrue(window.repeats(-2, Claim(0)))

        window = DeduplicationWindow(AGE)
        window.repeats(-2, Claim(0))
        for other in range(WINDOW):
            window.repeats(other, Claim(0))
        self.assertFalse(window.knows(-2, 0))
        self.assertFalse(window.repeats(-2, Claim(0)))

    def test_a_window_is_small(self) -> None:
        window = DeduplicationWindow(AGE)
        for number in range(2 * WINDOW):
            window.repeats(hash(("ann", str(number))), Claim(0))
        self.assertLess(sum(map(sys.getsizeof, vars(window).values())), 28_000)

    def test_an_id_is_forgotten_with_its_message(self) -> None:
        for others in (0, 500):
            window = DeduplicationWindow(AGE)
            self.assertFalse(window.repeats(7, Claim(1)))
            for other in range(others):
                window.repeats(other << 16, Claim(1))
            self.assertTrue(window.repeats(7, Claim(AGE)))
            self.assertTrue(window.repeats(7, Claim(2 * AGE)))
            self.assertFalse(window.repeats(7, Claim(3 * AGE + 1)))
            self.assertTrue(window.knows(7, 3 * AGE + 1))
            self.assertFalse(window.knows(7, 3 * AGE + 2))

    def test_times_from_before_1970(self) -> None:
        """As records of other programs may have."""
        window = DeduplicationWindow(AGE)
        self.assertFalse(window.repeats(7, Claim(FIRST)))
        self.assertTrue(window.repeats(7, Claim(FIRST + AGE)))
        self.assertFalse(window.repeats(7, Claim(FIRST + 2 * AGE + 1)))

    def test_how_old_records_of_other_programs_are(self) -> None:
        """As they claim, but no older than what chatd wrote before; without a claim, as old as the
        one before. They have no say in how old chatd's own are."""

        def foreign(time: int) -> Claim:
            return Claim(time, True)

        window = DeduplicationWindow(AGE)
        self.assertFalse(window.repeats(7, None))
        self.assertTrue(window.repeats(7, foreign(10 * AGE)))  # nobody knows when it came
        self.assertFalse(window.repeats(8, Claim(20 * AGE)))
        window.repeats(1, foreign(3 * AGE))
        self.assertTrue(window.knows(1, 20 * AGE))
        window.repeats(2, None)
        self.assertTrue(window.knows(2, 20 * AGE))
        window.repeats(3, foreign(90 * AGE))
        window.repeats(4, None)
        self.assertTrue(window.knows(4, 90 * AGE))
        self.assertTrue(window.repeats(8, Claim(21 * AGE)))
        self.assertFalse(window.repeats(8, Claim(22 * AGE + 1)))
        for _ in range(WINDOW + 1):
            window.repeats(None, None)
        window.repeats(9, foreign(5 * AGE))
        self.assertFalse(window.knows(9, 5 * AGE + 1))

    def test_what_is_no_message_takes_a_place(self) -> None:
        window = DeduplicationWindow(AGE)
        window.repeats(7, Claim(0))
        for _ in range(WINDOW):
            window.repeats(None, Claim(0))
        self.assertFalse(window.repeats(7, Claim(0)))

    @settings(deadline=None, max_examples=25)
    @given(st.integers(), st.integers(0, 1400))
    def test_all_judge_alike_after_a_window_of_records(self, seed: int, start: int) -> None:
        random = Random(seed)
        keys = [random.randrange(1500) for _ in range(3000)]
        early, late = DeduplicationWindow(AGE), DeduplicationWindow(AGE)
        for key in keys[:start]:
            early.repeats(key, Claim(0))
        for number, key in enumerate(keys[start:]):
            first, second = early.repeats(key, Claim(0)), late.repeats(key, Claim(0))
            if number >= WINDOW:
                self.assertEqual(first, second)
