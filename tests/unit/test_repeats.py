"""Whether a message sent again lies after its cursor, and what it may cost to look."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import NotStored, Stream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import Content
from chatd.rooms import repeats
from chatd.rooms.history import HistoryPage
from chatd.rooms.read_queue import PATIENCE, ReadQueue
from chatd.rooms.repeats import KEPT, OF_ALL, OF_ONE, SEARCHES, USERS, Repeats
from tests.support.world import World

#: Messages of a page, here.
PAGE = 10
#: More than two pages.
MANY = 2 * PAGE + 5


class RepeatsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.room = self.world.room()
        self.repeats = Repeats(self.world.clock)
        self.patch(repeats, "PAGE", PAGE)

    def fill(self, cached: bool = False) -> None:
        """Messages of ann's with ids from "m0" on, one at each offset."""
        self.world.store("lobby", *(f"m{n}" for n in range(MANY)), user="ann")
        if not cached:
            self.room.recent.forget()

    def begin(
        self,
        id: str,
        after: int = -1,
        user: str = "ann",
        life: str | None = None,
        asker: str = "192.0.2.7",
        came: float | None = None,
    ) -> list[Any]:
        """Look for a message; what is found."""
        cursor = Cursor(self.world.stream().life if life is None else life, after)
        content = Content(user, id, "again")
        return self.world.begin(self.repeats.stored(self.room, content, cursor, asker, came))

    def found(self, id: str, after: int = -1, user: str = "ann", life: str | None = None) -> bool:
        outcome = self.begin(id, after, user, life)
        self.world.turn()
        self.assertIsInstance(outcome[0], bool)
        return bool(outcome[0])

    def refused(self, outcome: list[Any]) -> None:
        self.assertIsInstance(outcome[0], Failure)
        error = outcome[0].value
        self.assertIsInstance(error, Unavailable)
        self.assertNotIsInstance(error, NotStored)  # it may be, since it was first sent


class SearchTests(RepeatsCase):
    def test_on_any_page(self) -> None:
        self.fill()
        for n in (0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, MANY - 1):
            self.assertTrue(self.found(f"m{n}"), n)
        self.assertFalse(self.found("other"))

    def test_only_after_the_cursor(self) -> None:
        for cached in (True, False):
            self.setUp()
            self.fill(cached)
            self.assertTrue(self.found("m3", after=2))
            self.assertFalse(self.found("m3", after=3))
            self.assertFalse(self.found("m3", after=MANY - 1))

    def test_only_this_users_with_this_id(self) -> None:
        self.fill()
        self.assertFalse(self.found("m3", user="bob"))
        self.assertFalse(self.found("m"))

    def test_among_all_that_is_kept_where_the_cursor_is_of_another_life(self) -> None:
        self.fill()
        self.world.broker.truncate(self.world.stream(), 10)
        self.assertTrue(self.found("m10", after=MANY, life="other"))
        self.assertFalse(self.found("m9", after=-1, life="other"))
        self.assertTrue(self.found("m10", after=PAGE + 1, life="other"), "known by now")

    def test_nothing_is_read_that_is_at_hand(self) -> None:
        self.fill(cached=True)
        with mock.patch.object(self.world.broker, "read", side_effect=AssertionError):
            self.assertFalse(self.found("other"))

    def pages(self, seconds: float = 0.0) -> list[int]:
        """The offsets after which pages are read from now on, each in so many ``seconds``."""
        asked: list[int] = []
        page = self.room.page

        async def noted(at: int, limit: int, asker: str) -> HistoryPage:
            asked.extend([at] * (limit == PAGE))
            self.world.advance(seconds)
            return await page(at, limit, asker)

        patched = mock.patch.object(self.room, "page", noted)
        patched.start()
        self.addCleanup(patched.stop)
        return asked

    def test_many_that_are_sent_again_have_the_stream_read_once(self) -> None:
        """One after the other, as a connection has them looked for."""
        self.fill()
        asked = self.pages()
        self.assertFalse(self.found("other"))
        self.assertEqual(asked, [-1, PAGE - 1, 2 * PAGE - 1])
        asked.clear()
        with mock.patch.object(self.room, "page", side_effect=AssertionError):
            for n in range(MANY):
                self.assertTrue(self.found(f"m{n}"), n)
                self.assertFalse(self.found(f"m{n}", after=n), n)
                self.assertFalse(self.found(f"other{n}"), n)
            self.assertFalse(self.found("other", after=-1))
        self.world.store("lobby", "late", user="ann")
        self.room.recent.forget()
        self.assertTrue(self.found("late"))
        self.assertEqual(asked, [MANY - 1])
        self.assertFalse(self.found("m3", user="bob"))

    def test_what_was_seen_is_not_remembered_for_long(self) -> None:
        """Messages expire."""
        self.fill()
        asked = self.pages()
        self.assertTrue(self.found("m3"))
        self.world.advance(KEPT + 1)
        self.assertTrue(self.found("m3"))
        self.assertEqual(asked, [-1, -1])

    def test_what_takes_long_to_read_is_remembered_since_it_was_read(self) -> None:
        self.fill()
        asked = self.pages(seconds=KEPT - 1)
        self.assertFalse(self.found("other"))
        self.assertFalse(self.found("another"))
        self.assertEqual(asked, [-1, PAGE - 1, 2 * PAGE - 1])

    def test_what_was_seen_does_not_begin_before_it_was_looked_for(self) -> None:
        self.fill()
        self.assertFalse(self.found("m3", after=5))
        self.assertTrue(self.found("m3", after=2))

    def test_few_are_remembered(self) -> None:
        self.fill()
        for n in range(USERS + 3):
            self.assertFalse(self.found("m3", user=f"user{n}"))
        self.assertEqual(len(self.repeats._seen), USERS)
        self.patch(repeats, "IDS", PAGE)
        for _ in range(2):
            for n in range(MANY):
                self.assertTrue(self.found(f"m{n}"), n)
            self.assertFalse(self.found("other"))
        self.assertLessEqual(max(len(seen.ids) for seen in self.repeats._seen.values()), PAGE)

    def test_what_another_node_has_read_and_this_one_has_not(self) -> None:
        """It comes before the broker says how far the stream goes."""
        self.fill()
        asked: list[int] = []

        def end(stream: Stream) -> Deferred[int]:
            asked.append(self.room.head)
            if len(asked) == 1:
                self.world.store("lobby", *(f"n{n}" for n in range(MANY)), "late", user="ann")
            return succeed(self.room.head)

        with mock.patch.multiple(self.world.broker, exact=False, end=end):
            self.assertTrue(self.found("m3"))
            self.assertEqual(asked, [], "not asked for what is here")
            self.assertTrue(self.found("late"))
            self.assertFalse(self.found("other"))

    def test_the_stream_s_end_cannot_be_told(self) -> None:
        self.fill()

        def end(stream: Stream) -> Deferred[int]:
            return fail(Unavailable("it lags behind"))

        with mock.patch.multiple(self.world.broker, exact=False, end=end):
            outcome = self.begin("other")
            self.world.turn()
        self.refused(outcome)

    def ends(self) -> list[Stream]:
        """The streams of which the broker is asked for the end from now on."""
        asked: list[Stream] = []

        def end(stream: Stream) -> Deferred[int]:
            asked.append(stream)
            return succeed(self.room.head)

        patched = mock.patch.multiple(self.world.broker, exact=False, end=end)
        patched.start()
        self.addCleanup(patched.stop)
        return asked

    def test_the_broker_is_asked_once_for_all_that_came_before(self) -> None:
        """One after the other, as a connection has them looked for."""
        self.fill()
        asked = self.ends()
        came = self.world.clock.seconds()
        self.world.advance(1)
        for n in range(4):
            outcome = self.begin(f"other{n}", came=came)
            self.world.turn()
            self.assertEqual(outcome, [False])
        self.assertEqual(len(asked), 1)
        self.world.store("lobby", "late", user="ann")
        self.world.turn()
        outcome = self.begin("late", came=came)
        self.world.turn()
        self.assertEqual(outcome, [True], "what came here since counts as well")
        # in the same moment: the answer may be of before
        self.assertFalse(self.found("new"))
        self.assertEqual(len(asked), 2)
        # a room that was read from another place since, which lags behind
        with mock.patch.object(type(self.room), "head", self.room.head - 1):
            self.assertEqual(self.begin("new", came=came), [False])
        self.assertEqual(len(asked), 3)

    def test_of_few_streams_it_is_remembered_how_far_they_go(self) -> None:
        self.fill()
        self.ends()
        self.patch(repeats, "ENDS", 0)
        self.assertFalse(self.found("other"))
        self.assertEqual(len(self.repeats._ends), 0)

    def test_where_a_cursor_leads_is_found_once(self) -> None:
        """Though it is of another life of the room, as those of all who come back to a new one."""
        self.fill()
        located = mock.Mock(side_effect=self.world.broker.locate)
        with mock.patch.object(self.world.broker, "locate", located):
            for n in range(MANY):
                self.assertTrue(self.found(f"m{n}", after=5, life="other"), n)
                self.assertFalse(self.found(f"other{n}", after=5, life="other"), n)
        self.assertEqual(located.call_count, 1)
        self.assertTrue(self.found("m3", after=2))
        self.assertFalse(self.found("m3", after=3))

    def test_a_room_that_is_not_known_is_not_searched(self) -> None:
        """Nothing tells what it has."""
        self.fill()
        self.assertFalse(self.found("other"))
        self.room.detach()
        outcome = self.begin("other")
        self.world.turn()
        self.refused(outcome)

    def test_reads_are_counted_to_who_asks(self) -> None:
        self.fill()
        with mock.patch.object(ReadQueue, "run", autospec=True, side_effect=ReadQueue.run) as run:
            self.assertFalse(self.found("other"))
            self.assertFalse(self.found("other", life="other"))
        self.assertEqual({call.args[1] for call in run.call_args_list}, {"192.0.2.7"})

    def test_a_room_that_begins_a_new_life_meanwhile_is_not_searched_on(self) -> None:
        """Its offsets are others; what it holds now, the room knows by itself."""
        self.fill(cached=True)
        before, page = self.world.stream(), self.room.page
        asked: list[tuple[int, str]] = []

        async def begins_anew(at: int, limit: int, asker: str) -> HistoryPage:
            asked.append((at, asker))
            found = await page(at, limit, asker)
            self.world.do(self.world.broker.delete(before))
            self.world.turn()
            self.fill(cached=True)
            self.world.store("lobby", "other", user="ann")
            return found

        with mock.patch.object(self.room, "page", begins_anew):
            outcome = self.begin("other", after=0)
        self.assertNotEqual(self.world.stream(), before)
        self.assertEqual(outcome, [False])
        self.assertEqual(asked, [(0, "192.0.2.7")])


class BoundsTests(RepeatsCase):
    """Each search may read a whole stream."""

    def setUp(self) -> None:
        super().setUp()
        self.fill()
        self.reads: list[Deferred[Any]] = []
        held = mock.patch.object(self.world.broker, "read", side_effect=self._read)
        held.start()
        self.addCleanup(held.stop)

    def _read(self, *_: Any) -> Deferred[Any]:
        self.reads.append(Deferred())
        return self.reads[-1]

    def fail_reads(self) -> None:
        reads, self.reads = self.reads, []
        for read in reads:
            read.errback(Unavailable("away"))
        self.world.turn()

    def test_so_many_at_once_on_a_node(self) -> None:
        pages = mock.Mock(side_effect=self.room.page)
        with mock.patch.object(self.room, "page", pages):
            outcomes = [self.begin("x", user=f"user{n}") for n in range(SEARCHES + 3)]
            self.world.turn()
            self.assertEqual(pages.call_count, SEARCHES)
            self.fail_reads()
            self.assertEqual(pages.call_count, 2 * SEARCHES, "the next have their turn")
            while self.reads:
                self.fail_reads()
        for outcome in outcomes:
            self.refused(outcome)

    def test_so_many_of_one_address(self) -> None:
        outcomes = [self.begin("x", user=f"user{n}") for n in range(OF_ONE)]
        self.world.turn()
        self.assertEqual(outcomes, [[]] * OF_ONE)
        self.refused(self.begin("x", user="one more"))
        self.assertEqual(self.begin("x", asker="192.0.2.8"), [], "another address")
        self.fail_reads()
        outcomes += [self.begin("x") for _ in range(SEARCHES)]
        self.assertEqual(outcomes.count([]), OF_ONE, "as many again as have ended")
        self.refused(self.begin("x"))
        while self.reads:
            self.fail_reads()
        for outcome in outcomes:
            self.refused(outcome)
        again = [self.begin("x") for _ in range(OF_ONE)]
        self.assertEqual(again, [[]] * OF_ONE, "none is under way any more")
        self.refused(self.begin("x"))

    def test_so_many_in_all(self) -> None:
        for n in range(OF_ALL):
            self.assertEqual(self.begin("x", asker=f"192.0.2.{n}"), [])
        self.refused(self.begin("x", asker="192.0.2.7"))

    def test_addresses_take_turns(self) -> None:
        many = [self.begin("x") for _ in range(SEARCHES + 10)]
        other = self.begin("x", asker="192.0.2.8")
        self.fail_reads()
        self.fail_reads()
        self.refused(other)
        self.assertGreater(many.count([]), 5)

    def test_nobody_waits_for_ever(self) -> None:
        waiting = [self.begin("x") for _ in range(SEARCHES + 1)]
        self.world.advance(PATIENCE + 1)
        self.refused(waiting[-1])

    def test_those_that_waited_for_one_that_failed_fail_as_well(self) -> None:
        """On one connection, where each would take as long, one after the other."""
        came = self.world.clock.seconds()
        self.world.advance(1)
        first = self.begin("x", came=came)
        self.world.turn()
        self.fail_reads()
        self.refused(first)
        self.refused(self.begin("y", came=came))
        self.assertEqual(self.reads, [])
        self.assertEqual(self.begin("x"), [], "it is tried again for who comes later")
        self.assertEqual(self.begin("x", came=came, asker="192.0.2.8"), [], "or from elsewhere")

    def test_given_up(self) -> None:
        """By who asks: in line, and while it reads."""
        cursor, content = Cursor(self.world.stream().life, -1), Content("ann", "x", "again")
        pages = mock.Mock(side_effect=self.room.page)
        with mock.patch.object(self.room, "page", pages):
            looking = [
                Deferred.fromCoroutine(self.repeats.stored(self.room, content, cursor, "there"))
                for _ in range(SEARCHES + 1)
            ]
            for one in (looking[-1], looking[0]):
                one.addErrback(lambda failure: failure.trap(CancelledError))
                one.cancel()
            self.assertEqual(pages.call_count, SEARCHES)
            later = self.begin("x")
            self.assertEqual(pages.call_count, SEARCHES + 1, "its place is another's")
            self.fail_reads()
        self.refused(later)
        looking[1].addErrback(lambda failure: failure.trap(Unavailable))
