"""A subscriber reads on from the broker, and the broker cannot be read."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import Unavailable
from chatd.rooms.catch_up import RETRY
from chatd.rooms.subscription import SubscriptionState
from tests.support.world import Reader, World


class FailedReadTests(TestCase):
    def setUp(self) -> None:
        self.world = World()

    def reading(self) -> tuple[Reader, Deferred[Any]]:
        """One who waits for a page, and that page."""
        bob = self.world.join("lobby", "bob", stalled=True)
        self.world.store("lobby", "one", "two", "three")
        self.world.room().recent.forget()
        page: Deferred[Any] = Deferred()
        with mock.patch.object(self.world.sites[0].history, "page", mock.Mock(return_value=page)):
            bob.read_on()
        self.assertIs(bob.state, SubscriptionState.READING)
        return bob, page

    def test_is_tried_again(self) -> None:
        bob, page = self.reading()
        page.errback(Unavailable("away"))
        self.world.turn()
        self.assertEqual((bob.state, bob.texts), (SubscriptionState.BEHIND, []))
        self.world.advance(RETRY)
        self.assertEqual(bob.texts, ["one", "two", "three"])
        self.assertIs(bob.state, SubscriptionState.LIVE)

    def test_by_a_fault_is_logged_too(self) -> None:
        bob, page = self.reading()
        with capturedLogs() as events:
            page.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([event["room"] for event in events if "room" in event], ["lobby"])
        self.world.advance(RETRY)
        self.assertEqual(bob.texts, ["one", "two", "three"])

    def test_is_nothing_to_who_has_left(self) -> None:
        bob, page = self.reading()
        bob.subscription.stop()
        page.errback(Unavailable("away"))
        self.world.advance(RETRY)
        self.assertEqual((bob.state, bob.texts), (SubscriptionState.CLOSED, []))

    def test_is_nothing_to_who_reads_something_else_by_now(self) -> None:
        """The stream has vanished, and the room begun anew."""
        bob, page = self.reading()
        self.world.do(self.world.broker.delete(self.world.stream()))
        self.world.turn()
        self.assertEqual((bob.state, bob.texts), (SubscriptionState.LIVE, ["GAP"]))
        page.errback(Unavailable("away"))
        self.world.store("lobby", "four")
        self.assertEqual(bob.texts, ["GAP", "four"])
