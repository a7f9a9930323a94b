"""Work waits in line: in order, each line by itself, however many wait."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from chatd.timing.lines import Lines, Piece

#: More than Python's stack is deep.
MANY = 5000


class OneByOneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: Lines[str, Any] = Lines()
        self.begun: list[object] = []
        self.ended: list[object] = []

    def run_later(self, key: str, name: object) -> Deferred[Any]:
        """Work that has ended when the Deferred is fired that it returns here."""
        work: Deferred[Any] = Deferred()

        def begin() -> Deferred[Any]:
            self.begun.append(name)
            return work

        self.run_with(key, begin).addBoth(self.ended.append)
        return work

    def run_with(self, key: str, begin: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """Work for which there is no lane that keeps the order."""
        return self.lines.run(key, Piece(begin, lambda more: None, self.fail))

    def test_one_after_the_other(self) -> None:
        first, second = self.run_later("ann", 1), self.run_later("ann", 2)
        self.assertEqual((self.begun, self.lines.waiting), ([1], 1))
        first.callback("one")
        self.assertEqual((self.begun, self.ended, self.lines.waiting), ([1, 2], ["one"], 0))
        second.callback("two")
        self.assertEqual(self.ended, ["one", "two"])

    def test_keys_do_not_wait_for_each_other(self) -> None:
        self.run_later("ann", 1)
        self.run_later("ben", 2)
        self.assertEqual(self.begun, [1, 2])

    def test_who_comes_when_all_has_ended_does_not_wait(self) -> None:
        self.run_later("ann", 1).callback(None)
        self.run_later("ann", 2)
        self.assertEqual(self.begun, [1, 2])

    def test_work_that_fails_lets_the_next_begin(self) -> None:
        first = self.run_later("ann", 1)
        self.run_later("ann", 2)
        first.errback(ValueError())
        self.assertEqual(self.begun, [1, 2])

    def test_work_that_raises_lets_the_next_begin(self) -> None:
        def raising() -> Deferred[Any]:
            raise ValueError

        self.failureResultOf(self.run_with("ann", raising), ValueError)
        first = self.run_later("ann", 1)
        waiting = self.run_with("ann", raising)
        self.run_later("ann", 2)
        first.callback(None)
        self.failureResultOf(waiting, ValueError)
        self.assertEqual(self.begun, [1, 2])

    def test_what_is_cancelled_in_line_does_not_begin(self) -> None:
        first = self.run_later("ann", 1)
        waiting = self.run_with("ann", lambda: self.fail("it began"))
        waiting.addErrback(lambda _: None)
        self.run_later("ann", 3)
        waiting.cancel()
        self.assertEqual(self.lines.waiting, 1)
        first.callback(None)
        self.assertEqual(self.begun, [1, 3])

    def test_a_long_line_that_is_refused_at_once(self) -> None:
        """As when a room begins anew, or the broker has gone."""
        first = self.run_later("ann", "first")
        refused = [self.run_with("ann", lambda: fail(ValueError())) for _ in range(MANY)]
        last = self.run_with("ann", lambda: succeed("last"))
        first.callback(None)
        for one in refused:
            self.failureResultOf(one, ValueError)
        self.assertEqual((self.successResultOf(last), self.lines.waiting), ("last", 0))

    def test_who_asks_again_on_being_refused_stands_behind_the_others(self) -> None:
        first = self.run_later("ann", "first")
        refused = self.run_with("ann", lambda: fail(ValueError()))
        refused.addErrback(lambda _: self.run_later("ann", "again"))
        self.run_later("ann", "second").callback(None)
        first.callback(None)
        self.assertEqual(self.begun, ["first", "second", "again"])

    def test_it_begins_in_the_context_in_which_it_was_asked_for(self) -> None:
        request: ContextVar[str] = ContextVar("request", default="none")
        first = self.run_later("ann", 1)
        token = request.set("mine")
        waiting = self.run_with("ann", lambda: succeed(request.get()))
        request.reset(token)
        first.callback(None)
        self.assertEqual(self.successResultOf(waiting), "mine")


class SeveralTests(SynchronousTestCase):
    """Several pieces of one line are under way, over what keeps their order."""

    def setUp(self) -> None:
        self.lines: Lines[str, Any] = Lines()
        self.begun: list[object] = []
        self.overtaken: list[object] = []
        self.asked: list[bool] = []
        self.lane: object | None = object()

    def run_one(self, name: object, key: str = "ann") -> Deferred[Any]:
        """Work that has ended when the Deferred is fired that it returns here; it fails when it is
        overtaken."""
        work: Deferred[Any] = Deferred()

        def begin() -> Deferred[Any]:
            self.begun.append(name)
            return work

        def lane(more: bool) -> object | None:
            self.asked.append(more)
            return self.lane

        def overtaken() -> None:
            self.overtaken.append(name)
            work.errback(ValueError())

        self.lines.run(key, Piece(begin, lane, overtaken)).addErrback(lambda _: None)
        return work

    def test_they_do_not_wait(self) -> None:
        for name in (1, 2, 3):
            self.run_one(name)
        self.assertEqual((self.begun, self.lines.waiting), ([1, 2, 3], 0))

    def test_one_at_a_time_needs_no_lane(self) -> None:
        self.run_one(1).callback(None)
        self.run_one(2)
        self.run_one(3)
        self.assertEqual(self.asked, [False, False, True])

    def test_whoever_would_take_another_lane_waits_for_all_before(self) -> None:
        first, second = self.run_one(1), self.run_one(2)
        self.lane = object()
        third = self.run_one(3)
        first.callback(None)
        self.assertEqual(self.begun, [1, 2])
        second.callback(None)
        self.run_one(4)
        self.assertEqual(self.begun, [1, 2, 3, 4])
        self.lane = None
        self.run_one(5)
        third.callback(None)
        self.assertEqual(self.lines.waiting, 1)

    def test_where_there_was_no_lane_the_one_made_ready_is_for_those_after_it(self) -> None:
        self.lane = None
        first = self.run_one(1)
        self.run_one(2)
        self.run_one(3)
        self.lane = object()
        self.run_one(4)
        self.assertEqual(self.begun, [1])
        first.callback(None)
        self.assertEqual(self.begun, [1, 2, 3, 4])

    def test_nobody_passes_those_who_wait(self) -> None:
        self.run_one(1)
        lane, self.lane = self.lane, None
        self.run_one(2)
        self.lane = lane
        self.run_one(3)
        self.assertEqual(self.begun, [1])

    def test_whoever_is_overtaken_is_told(self) -> None:
        self.run_one(1)
        self.run_one(2)
        third, fourth = self.run_one(3), self.run_one(4)
        third.callback(None)
        self.assertEqual(self.overtaken, [1, 2])
        fourth.callback(None)
        self.assertEqual(self.overtaken, [1, 2])
        self.lane = object()
        self.run_one(5)
        self.assertEqual(self.begun[-1], 5)

    def test_what_fails_overtakes_nobody(self) -> None:
        self.run_one(1)
        self.run_one(2).errback(ValueError())
        self.assertEqual(self.overtaken, [])

    def test_lines_that_have_ended_are_forgotten(self) -> None:
        for name in range(3):
            work = [self.run_one(name, str(name)) for _ in range(3)]
            for one in (work[2], work[0], work[1]):
                if not one.called:
                    one.callback(None)
        self.run_one("alone", "alone").callback(None)
        self.assertEqual(self.lines._lines, {})

    def test_a_line_of_which_some_is_under_way_is_not_forgotten(self) -> None:
        self.run_one(1).callback(None)
        second, third = self.run_one(2), self.run_one(3)
        second.callback(None)
        self.lane = object()
        self.run_one(4)
        self.assertEqual(self.begun, [1, 2, 3])
        third.callback(None)
        self.assertEqual(self.begun, [1, 2, 3, 4])
