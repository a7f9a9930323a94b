"""Work waits for its turn: in order, each key by itself, however many wait."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from chatd.timing.slots import Lines, Slots

#: More than Python's stack is deep.
MANY = 5000


class SlotsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.slots = Slots(2)

    def test_as_many_as_there_are(self) -> None:
        first, second, third = (self.slots.acquire() for _ in range(3))
        self.assertTrue(first.called and second.called)
        self.assertEqual((third.called, len(self.slots)), (False, 1))
        self.slots.release()
        self.assertEqual((third.called, len(self.slots)), (True, 0))

    def test_who_leaves_takes_none(self) -> None:
        for _ in range(2):
            self.slots.acquire()
        leaving, staying = self.slots.acquire(), self.slots.acquire()
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.slots.release()
        self.assertTrue(staying.called)

    def test_many_who_are_done_at_once(self) -> None:
        for _ in range(2):
            self.slots.acquire()
        for _ in range(MANY):
            self.slots.acquire().addCallback(lambda _: self.slots.release())
        self.slots.release()
        self.assertEqual(len(self.slots), 0)
        self.slots.release()
        self.assertTrue(self.slots.idle)


class LinesTests(SynchronousTestCase):
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

        self.lines.run(key, begin).addBoth(self.ended.append)
        return work

    def test_one_after_the_other(self) -> None:
        first, second = self.run_later("ann", 1), self.run_later("ann", 2)
        self.assertEqual((self.begun, len(self.lines)), ([1], 1))
        first.callback("one")
        self.assertEqual((self.begun, self.ended, len(self.lines)), ([1, 2], ["one"], 0))
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

        self.failureResultOf(self.lines.run("ann", raising), ValueError)
        first = self.run_later("ann", 1)
        waiting = self.lines.run("ann", raising)
        self.run_later("ann", 2)
        first.callback(None)
        self.failureResultOf(waiting, ValueError)
        self.assertEqual(self.begun, [1, 2])

    def test_what_is_cancelled_in_line_does_not_begin(self) -> None:
        first = self.run_later("ann", 1)
        waiting = self.lines.run("ann", lambda: self.fail("it began"))
        waiting.addErrback(lambda _: None)
        self.run_later("ann", 3)
        waiting.cancel()
        self.assertEqual(len(self.lines), 1)
        first.callback(None)
        self.assertEqual(self.begun, [1, 3])

    def test_a_long_line_that_is_refused_at_once(self) -> None:
        """As when a room begins anew, or the broker has gone."""
        first = self.run_later("ann", "first")
        refused = [self.lines.run("ann", lambda: fail(ValueError())) for _ in range(MANY)]
        last = self.lines.run("ann", lambda: succeed("last"))
        first.callback(None)
        for one in refused:
            self.failureResultOf(one, ValueError)
        self.assertEqual((self.successResultOf(last), len(self.lines)), ("last", 0))

    def test_who_asks_again_on_being_refused_stands_behind_the_others(self) -> None:
        first = self.run_later("ann", "first")
        refused = self.lines.run("ann", lambda: fail(ValueError()))
        refused.addErrback(lambda _: self.run_later("ann", "again"))
        self.run_later("ann", "second").callback(None)
        first.callback(None)
        self.assertEqual(self.begun, ["first", "second", "again"])

    def test_it_begins_in_the_context_in_which_it_was_asked_for(self) -> None:
        request: ContextVar[str] = ContextVar("request", default="none")
        first = self.run_later("ann", 1)
        token = request.set("mine")
        waiting = self.lines.run("ann", lambda: succeed(request.get()))
        request.reset(token)
        first.callback(None)
        self.assertEqual(self.successResultOf(waiting), "mine")
