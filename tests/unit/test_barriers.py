"""Barriers: a replica that lags behind is not taken for the whole stream."""

from __future__ import annotations

from unittest import mock

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import Lagging, NotStored, Stream, Unavailable
from chatd.brokers.rabbitmq import handover
from chatd.brokers.rabbitmq.barriers import APART, MOST_APART, PATIENCE, VAIN
from chatd.brokers.rabbitmq.following import LONGEST
from chatd.brokers.rabbitmq.records import publish_properties
from chatd.timing.turn_queue import TurnQueue
from tests.support.followed import Streams
from tests.support.recording import Recorder, body


class MarkCase(SynchronousTestCase):
    """A following of a stream with three records, at the offsets 0 to 2."""

    def setUp(self) -> None:
        self.streams, self.recorder = Streams(), Recorder()
        self.streams.records = [body(f"m{n}", at=0) for n in range(3)]
        self.recorder.may_call = True
        self.streams.follow(Stream("lobby", "1"), None, self.recorder)
        self.streams.bring()


class MarkTests(MarkCase):
    """Elsewhere the stream may have more records."""

    def setUp(self) -> None:
        super().setUp()
        self.count = 0

    def ask(self) -> Deferred[int]:
        following = self.streams.following
        assert following is not None
        return Deferred.fromCoroutine(following.end())

    def late(self, number: int) -> None:
        """What the other replicas had before comes."""
        self.streams.records += [body(f"m{number}", at=0)]
        self.streams.starts.append(number)
        self.streams.bring()

    def test_what_others_had_before_counts(self) -> None:
        end = self.ask()
        self.late(3)
        self.assertNoResult(end)
        self.streams.come("another", 4)
        self.assertNoResult(end)
        self.streams.come(self.streams.barriers[0], 5)
        self.assertEqual(self.successResultOf(end), 3)
        self.assertEqual(self.recorder.ids, [f"m{n}" for n in range(4)])

    def test_barriers_are_no_records(self) -> None:
        for number in range(3):
            end = self.ask()
            self.streams.come(self.streams.barriers[number], 3 + number)
            self.assertEqual(self.successResultOf(end), 2)
            self.streams.clock.advance(MOST_APART)
        self.assertEqual(self.recorder.calls, ["records", "caught_up"])

    def test_one_for_all_who_ask_before_it_is_appended(self) -> None:
        """And not for those who ask later: what they know of may lie after it. There are few in a
        second, whoever asks."""
        first = self.ask()
        later = [self.ask() for _ in range(3)]
        self.streams.come(self.streams.barriers[0], 3)
        self.assertEqual(self.successResultOf(first), 2)
        self.streams.clock.advance(APART / 2)
        self.assertEqual(len(self.streams.barriers), 1)
        self.streams.clock.advance(APART / 2)
        self.assertEqual(len(self.streams.barriers), 2)
        for end in later:
            self.assertNoResult(end)
        self.streams.come(self.streams.barriers[1], 4)
        self.assertEqual([self.successResultOf(end) for end in later], [2, 2, 2])

    def bounded(self, *more: Delivery) -> float:
        """One asks, and gets an answer, with ``more`` before it; the seconds until the barrier."""
        following, barriers = self.streams.following, self.streams.barriers
        assert following is not None
        end, began = self.ask(), self.streams.clock.seconds()
        while len(barriers) == self.count:
            self.streams.clock.advance(APART)
        self.count += 1
        if more:
            following.delivered(more)
        self.streams.come(barriers[-1], 1000 + 2 * self.count)
        self.successResultOf(end)
        return self.streams.clock.seconds() - began

    def test_fewer_while_they_bring_nothing(self) -> None:
        """Who names cursors that nobody was given would fill the stream with barriers."""
        waits = [self.bounded() for _ in range(VAIN + 9)]
        self.assertEqual(waits, sorted(waits))
        self.assertEqual((waits[VAIN], waits[-1]), (APART, MOST_APART))
        said = publish_properties("m", 0)
        self.bounded(Delivery(1001 + 2 * self.count, body("m3", at=0), said, b"lobby"))
        self.assertEqual(self.bounded(), APART)

    def test_records_that_wait_for_their_turn_come_first(self) -> None:
        end = self.ask()
        self.streams.records += [body(f"m{n}", at=0) for n in range(3, 9)]
        self.streams.starts.append(3)
        with (
            mock.patch.object(handover, "SLICE", 2),
            mock.patch("chatd.brokers.rabbitmq.records.SLICE", 2),
        ):
            self.streams.bring()
            self.streams.come(self.streams.barriers[0], 9)
            self.assertNoResult(end)
            self.streams.clock.pump([0] * 9)
        self.assertEqual(self.successResultOf(end), 8)

    def test_one_that_is_handed_over_too_late_says_nothing_of_the_next(self) -> None:
        """Neither while that is not appended yet, nor while it is on its way."""
        for passed in (0, APART):
            self.streams, self.recorder, turns = Streams(), Recorder(), Clock()
            self.recorder.may_call = True
            self.streams.turns = TurnQueue(turns, 1)  # much else waits for its turn
            self.streams.follow(Stream("lobby", "1"), None, self.recorder)
            self.late(0)
            with mock.patch("chatd.brokers.rabbitmq.records.SLICE", 2):
                self.streams.records += [body(f"m{n}", at=0) for n in range(1, 9)]
                self.streams.bring()
            first = self.ask()
            self.streams.come(self.streams.barriers[0], 9)
            self.streams.clock.advance(PATIENCE)
            self.failureResultOf(first, Unavailable)
            second = self.ask()
            self.streams.clock.advance(passed)
            turns.pump([0] * 9)
            self.assertNoResult(second)
            self.streams.clock.advance(APART - passed)
            self.streams.come(self.streams.barriers[1], 10)
            self.assertEqual(self.successResultOf(second), 8)

    def test_a_replica_that_lags_for_long(self) -> None:
        end = self.ask()
        self.streams.clock.advance(PATIENCE)
        self.assertIn("lags", str(self.failureResultOf(end, Lagging).value))

    def test_a_mark_that_is_not_stored_says_nothing_of_the_replica(self) -> None:
        self.streams.barrier_stored = Deferred()
        end = self.ask()
        self.streams.clock.advance(PATIENCE)
        why = self.failureResultOf(end, Unavailable).value
        self.assertNotIsInstance(why, Lagging)
        self.assertNotIn("lags", str(why))

    def test_what_cannot_be_appended(self) -> None:
        self.streams.barrier_stored = fail(NotStored("low on memory"))
        why = self.failureResultOf(self.ask(), Unavailable).value
        self.assertEqual(str(why), "low on memory")
        self.assertNotIsInstance(why, NotStored)  # it says nothing of a message
        self.assertEqual(self.streams.clock.getDelayedCalls(), [])

    def test_who_waits_when_following_ends_is_told(self) -> None:
        for pausing in (False, True):
            self.setUp()
            if pausing:
                self.streams.come(self.streams.barriers[0] if self.ask() else "", 3)
            end = self.ask()
            following = self.streams.following
            assert following is not None
            following.stop()
            self.failureResultOf(end, Unavailable)
            self.assertEqual(self.streams.clock.getDelayedCalls(), [])


class LaggingTests(MarkCase):
    """After an interruption nothing comes: the host that is read from now may lag behind, or there
    is another stream of the same name, which has not as many records."""

    def setUp(self) -> None:
        super().setUp()
        self.come_back()

    def come_back(self) -> None:
        following = self.streams.following
        assert following is not None
        self.streams.come_back()
        following.silent()

    def test_what_is_after_all_that_was_seen_is_no_other_stream(self) -> None:
        self.streams.place.callback(3)
        self.streams.clock.advance(LONGEST)
        self.assertEqual(self.streams.starts[-2:], [2, 2])
        self.streams.records.append(body("m3", at=0))
        self.streams.bring()
        self.assertEqual(self.recorder.ids, [f"m{n}" for n in range(4)])
        self.assertNotIn("gone", self.recorder.calls)

    def test_what_does_not_come_tells_nothing(self) -> None:
        self.streams.place.errback(Unavailable("RabbitMQ did not answer in time"))
        self.streams.clock.advance(LONGEST)
        self.assertEqual(self.streams.starts[-1], 2)
        self.assertNotIn("gone", self.recorder.calls)

    def test_another_stream(self) -> None:
        for place in (1, 2):
            self.setUp()
            self.streams.place.callback(place)
            self.assertEqual(self.recorder.calls[-1], "gone", place)
