"""Finding out which streams the directory names, while more are added."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import NotStored, Stream
from chatd.directory.unavailable import unavailable
from chatd.directory.unnamed import AGAIN, Unnamed

ONE, TWO = Stream("one", "1" * 12), Stream("two", "2" * 12)


class UnnamedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.leftovers = mock.Mock()
        #: What was appended, and the outcome that is waited for.
        self.appended: list[tuple[str, Deferred[bool]]] = []
        self.unnamed = Unnamed(self.clock, self.leftovers, lambda name: None, self.append)
        self.addCleanup(self.unnamed.stop)

    async def append(self, event: dict[str, Any]) -> bool:
        outcome: Deferred[bool] = Deferred()
        self.appended.append((event["event"], outcome))
        return await outcome

    def deleted(self) -> list[Stream]:
        return [call.args[0] for call in self.leftovers.add.call_args_list]

    def asked(self) -> list[str]:
        return [event for event, _ in self.appended]

    def test_nobody_is_asked_for_twice_at_once(self) -> None:
        """However long the directory takes to answer, and whatever is added meanwhile."""
        self.unnamed.add(ONE, "first")
        self.clock.advance(AGAIN)
        self.unnamed.add(TWO, "second")
        self.clock.advance(AGAIN)
        self.assertEqual(self.asked(), ["first"])
        self.appended[0][1].callback(False)
        self.assertEqual(self.deleted(), [ONE])
        self.clock.advance(AGAIN)
        self.assertEqual(self.asked(), ["first", "second"])
        self.appended[1][1].callback(False)
        self.assertEqual(self.deleted(), [ONE, TWO])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_fails_is_asked_for_again(self) -> None:
        """Also where it is a fault of chatd, which is in the log."""
        self.unnamed.add(ONE, "first")
        for number, error in enumerate((unavailable(NotStored()), ValueError("a fault"))):
            self.clock.advance(AGAIN)
            self.appended[number][1].errback(error)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.advance(AGAIN)
        self.appended[2][1].callback(False)
        self.assertEqual(self.deleted(), [ONE])
