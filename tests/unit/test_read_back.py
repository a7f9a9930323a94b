"""An append counts when the stream has brought it: whatever the broker says, or leaves unsaid."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatd.brokers.interfaces import (
    DIRECTORY,
    IBroker,
    NoSuchStream,
    NotStored,
    Stream,
    Unavailable,
)
from chatd.brokers.read_back import CONFIRM, SHOWN, TICK, UNCOUNTED, Counts, ReadBack
from chatd.protocol.errors import ChatError
from chatd.rooms.publisher import PATIENCE
from chatd.telemetry.tracing import TRACE
from chatd.transports.websocket.connection import UNDER_WAY
from tests.support.lying_broker import LATE, Lie, LyingBroker
from tests.support.publishing import publish
from tests.support.world import World

#: Seconds in which one lie is mended.
MENDED = CONFIRM + SHOWN + 0.5


class ReadBackCase(TestCase):
    def setUp(self) -> None:
        self.world = World(broker=LyingBroker)
        broker = self.world.broker
        assert isinstance(broker, LyingBroker)
        self.broker = broker
        self.bob = self.world.join("lobby", "bob")
        self.broker.appended.clear()

    def first(self, lie: Lie, times: int = 1) -> None:
        """The next ``times`` appends are lied about."""
        self.broker.lie = lambda stream, number, channel: lie if number < times else Lie.NONE

    def say(self, text: str, sender: object = None, user: str = "ann") -> list[Any]:
        chat = self.world.sites[0].chat
        outcome = self.world.begin(publish(chat, user, "lobby", text, text, sender))
        self.world.turn()
        return outcome

    def refused(self, outcome: list[Any]) -> dict[str, Any]:
        error = outcome[0].value
        assert isinstance(error, ChatError)
        return error.frame()

    def count(self, name: str) -> float:
        value = self.world.sites[0].metrics.registry.get_sample_value(f"chatd_{name}_total")
        assert value is not None
        return value


class BlockedTests(ReadBackCase):
    def test_nobody_waits_for_a_broker_that_says_why_it_takes_nothing(self) -> None:
        self.first(Lie.DROP, times=100)
        outcome = self.say("hello")
        self.world.advance(SHOWN)
        self.assertEqual(outcome, [])
        with mock.patch.object(self.broker, "blocked", "low on memory"):
            self.world.advance(2 * SHOWN)
        [failure] = outcome
        error = failure.value
        self.assertIsInstance(error, ChatError)
        self.assertIn("it takes no messages: low on memory", error.text)
        self.assertIsNone(error.stored, "it may be stored when the broker takes messages again")


class TickTests(SynchronousTestCase):
    """The timer that looks for what is overdue."""

    def setUp(self) -> None:
        self.clock = Clock()
        silent = SimpleNamespace(exact=False, blocked="", append=lambda *record: Deferred())
        self.appends: ReadBack[int, None] = ReadBack(
            cast(IBroker, silent), self.clock, UNCOUNTED, lambda: None, lambda: ""
        )

    def append(self, key: int) -> Deferred[None]:
        until = self.clock.seconds() + 2 * TICK
        return self.appends.append(Stream("lobby", "e"), key, b"", "", 0, until)

    def test_who_appends_again_after_each_failure_starts_no_further_timer(self) -> None:
        def again(failure: Failure, key: int) -> None:
            self.append(key + 1).addErrback(again, key + 1)

        for key in (0, 1000, 2000):
            self.append(key).addErrback(again, key)
            self.clock.advance(TICK / 2)
        for _ in range(20):
            self.clock.advance(TICK)
            self.assertEqual(len(self.appends.under_way), 3)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_the_stream_is_lost_while_failures_are_told(self) -> None:
        first, second = self.append(1), self.append(2)
        first.addErrback(lambda _: self.appends.lost())
        self.clock.pump([TICK] * 3)
        self.failureResultOf(second, Unavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AttemptTests(SynchronousTestCase):
    """What the broker answers to attempts, of which there may be further ones by then."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[Deferred[None]] = []
        self.bodies: list[bytes] = []
        self.ends: list[Deferred[int]] = []
        self.counted: list[str] = []
        self.distrusted: list[float] = []
        self.trusted: list[Stream] = []
        self.looks = 0
        broker = SimpleNamespace(
            exact=False,
            blocked="",
            append=self._append,
            end=lambda stream: self._kept(self.ends),
            distrust=self._distrust,
            trust=self.trusted.append,
        )
        counts = Counts(
            lambda: self.counted.append("false confirm"), lambda: self.counted.append("resent")
        )
        self.appends: ReadBack[int, None] = ReadBack(
            cast(IBroker, broker), self.clock, counts, self._look, lambda: ""
        )
        self.done = self.append(1)

    def append(self, key: int) -> Deferred[None]:
        until = self.clock.seconds() + PATIENCE
        return self.appends.append(Stream("lobby", "e"), key, b"%d" % key, "", 0, until)

    def _append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        self.bodies.append(body)
        return self._kept(self.sent)

    def _kept(self, here: list[Deferred[Any]]) -> Deferred[Any]:
        here.append(Deferred())
        return here[-1]

    def _distrust(self, stream: Stream, since: float) -> Deferred[None]:
        self.distrusted.append(since)
        return succeed(None)

    def _look(self) -> None:
        self.looks += 1

    def wait(self, seconds: float) -> None:
        self.clock.pump([TICK] * round(seconds / TICK))

    def missed(self) -> None:
        """It is looked for, and is not there."""
        before = self.looks
        while self.looks == before:
            self.wait(TICK)
        self.appends.caught_up()

    def test_what_comes_behind_others_is_not_looked_for(self) -> None:
        """The broker has more to bring than it can at once: to read anew would delay all of it."""
        for key in range(2, 14):
            self.append(key)
        for sent in self.sent:
            sent.callback(None)
        for key in range(1, 13):
            self.wait(SHOWN / 2)
            self.appends.brought(key, None)
        self.assertEqual(self.looks, 0)
        self.wait(SHOWN + TICK)
        self.assertEqual(self.looks, 1)

    def test_what_others_have_overtaken_is_looked_for(self) -> None:
        for key in range(2, 8):
            self.wait(SHOWN / 2)
            self.append(key)
            self.appends.brought(key, None)
        self.assertEqual(self.looks, 1)

    def test_a_late_answer_says_nothing_of_the_next_attempt(self) -> None:
        for late in (None, Failure(Unavailable("the channel was given up"))):
            self.setUp()
            self.missed()
            self.ends[0].callback(0)
            self.sent[0].callback(late)
            self.wait(2 * SHOWN + TICK)
            self.assertEqual(self.looks, 1)
            self.missed()
            self.ends[1].callback(0)
            self.assertEqual(self.counted, ["resent"] * 2)

    def test_a_confirm_counts_for_its_own_attempt(self) -> None:
        self.sent[0].callback(None)
        for end in range(2):
            self.missed()
            self.ends[end].callback(0)
        self.assertEqual(self.counted, ["false confirm", "resent"])

    def test_an_answer_while_it_is_missed_does_not_have_it_sent_twice(self) -> None:
        """As comes when its channel is closed, until which the stream's end is not asked for."""
        for answer in (None, Failure(Unavailable("the channel was given up"))):
            self.setUp()
            self.missed()
            self.sent[0].callback(answer)
            self.wait(2 * CONFIRM - TICK)
            self.assertEqual(self.looks, 1)
            self.ends[0].callback(0)
            self.assertEqual(len(self.sent), 2)

    def test_a_refusal_of_what_has_come_already(self) -> None:
        self.appends.brought(1, None)
        self.sent[0].errback(NoSuchStream("chatd.room.lobby.e"))
        self.assertIsNone(self.successResultOf(self.sent[0]))
        self.assertIsNone(self.successResultOf(self.done))

    def test_only_of_the_first_it_can_be_known_that_nothing_was_stored(self) -> None:
        self.missed()
        self.ends[0].callback(0)
        self.sent[1].errback(NotStored("RabbitMQ is not connected"))
        self.assertNoResult(self.done)
        self.wait(PATIENCE)
        why = self.failureResultOf(self.done, Unavailable).value
        self.assertNotIsInstance(why, NotStored)
        self.assertEqual(str(why), "RabbitMQ is not connected")

    def test_what_was_sent_before_is_sent_again_before(self) -> None:
        """Though it would be looked for later, because it was not confirmed."""
        self.append(2)
        self.sent[1].callback(None)
        self.wait(SHOWN + TICK)
        self.appends.caught_up()
        self.append(3)
        self.ends[0].callback(0)
        self.assertEqual(self.bodies, [b"1", b"2", b"3", b"1", b"2"])

    def test_what_was_only_late_is_no_reason_for_distrust(self) -> None:
        """It had come before it was known whether it was there; not so the second time."""
        for late in (True, False):
            if not late:
                self.append(2)
            self.wait(CONFIRM + TICK)
            self.appends.caught_up()
            if late:
                self.appends.brought(1, None)
            self.ends[-1].callback(0)
            self.assertEqual((len(self.distrusted), len(self.trusted)), (1 if late else 2, 1))
        self.assertEqual(self.bodies, [b"1", b"2", b"2"])

    def test_all_is_looked_for_together(self) -> None:
        """Once, until that was answered, or nobody waits for it any more."""
        self.wait(SHOWN)
        other, newest = self.append(2), self.clock.seconds()
        for refused in self.sent:
            refused.errback(Unavailable("it was refused"))
        self.wait(2 * SHOWN)
        self.assertEqual(self.looks, 1)
        self.appends.caught_up()
        self.assertEqual(self.distrusted, [newest])
        self.ends[0].errback(Unavailable("it lags behind"))
        self.wait(PATIENCE)
        for outcome in (self.done, other):
            self.failureResultOf(outcome, Unavailable)
        self.assertEqual(self.looks, 2)
        self.append(3)
        self.wait(CONFIRM + TICK)
        self.assertEqual(self.looks, 3)


class HealTests(ReadBackCase):
    def mended(self, lie: Lie, times: int = 1) -> None:
        self.first(lie, times)
        outcome = self.say("hello")
        self.assertEqual(outcome, [], "acknowledged unseen")
        self.world.advance(MENDED)
        self.assertEqual([receipt.id for receipt in outcome], ["hello"])
        self.world.advance(LATE)
        self.assertEqual(self.bob.texts, ["hello"])

    def test_confirmed_and_not_stored(self) -> None:
        self.mended(Lie.CONFIRM_ONLY)
        self.assertEqual(self.count("false_confirms"), 1)
        self.assertEqual(len(self.broker.distrusted), 1)

    def test_what_is_sent_again_is_the_same(self) -> None:
        self.mended(Lie.CONFIRM_ONLY)
        self.assertEqual(len(self.broker.appended), 2)
        self.assertEqual(len(set(self.broker.appended)), 1)

    def test_confirmed_and_stored_late(self) -> None:
        self.mended(Lie.STORE_LATE)

    def test_neither_confirmed_nor_stored(self) -> None:
        self.mended(Lie.DROP)
        self.assertEqual(self.count("unconfirmed_resent"), 1)

    def test_refused(self) -> None:
        self.mended(Lie.REFUSE)

    def test_a_confirm_that_never_comes_is_not_waited_for(self) -> None:
        self.first(Lie.STORE_ONLY)
        self.assertEqual([receipt.id for receipt in self.say("hello")], ["hello"])
        self.world.advance(PATIENCE)
        self.assertEqual(len(self.broker.appended), 1)

    def test_stored_twice(self) -> None:
        self.first(Lie.STORE_TWICE)
        self.assertEqual([receipt.id for receipt in self.say("hello")], ["hello"])
        self.assertEqual(self.bob.texts, ["hello"])

    def test_a_channel_that_goes_on_lying(self) -> None:
        """Only the third way tells the truth."""
        self.broker.lie = lambda stream, number, channel: (
            Lie.CONFIRM_ONLY if channel < 2 else Lie.NONE
        )
        outcome = self.say("hello")
        self.world.advance(PATIENCE - 2)
        self.assertEqual([receipt.id for receipt in outcome], ["hello"])
        self.assertEqual(self.count("false_confirms"), 2)

    def test_a_late_follower_is_no_false_confirm(self) -> None:
        """It is asked to begin again, and brings what is there."""
        following = self.world.room()._follower._following
        with mock.patch.object(type(following), "advance"):  # it was left behind
            outcome = self.say("hello")
            self.assertEqual(outcome, [])
        self.world.advance(MENDED)
        self.assertEqual([receipt.id for receipt in outcome], ["hello"])
        self.assertEqual(len(self.broker.appended), 1)
        self.assertFalse(self.broker.distrusted)

    def test_who_reads_from_where_it_lags_sends_nothing_again(self) -> None:
        """The record is stored. One more would be no repeat where the room is so busy that it is
        far from the first."""
        ends: list[Deferred[int]] = []

        def end(stream: Stream) -> Deferred[int]:
            ends.append(Deferred())
            return ends[-1]

        self.first(Lie.STORE_LATE)
        with mock.patch.object(self.broker, "end", end):
            outcome = self.say("hello")
            self.world.advance(SHOWN + 0.2)
            ends[0].errback(Unavailable("it lags behind"))
            self.world.advance(SHOWN + 0.2)
            self.assertEqual(len(ends), 2, "it asked again")
            self.world.advance(LATE)
        self.assertEqual([receipt.id for receipt in outcome], ["hello"])
        for late in ends[1:]:
            late.callback(0)
        self.assertEqual(len(self.broker.appended), 1)
        self.assertEqual((self.count("false_confirms"), self.bob.texts), (0, ["hello"]))

    def test_who_lags_for_long_says_so(self) -> None:

        def lags(stream: Stream) -> Deferred[int]:
            return fail(Unavailable("it lags behind"))

        self.first(Lie.CONFIRM_ONLY)
        with mock.patch.object(self.broker, "end", lags):
            outcome = self.say("hello")
            self.world.advance(PATIENCE + 1)
        self.assertIn("it lags behind", self.refused(outcome)["text"])

    def test_what_cannot_be_read_is_said_to_be_so(self) -> None:
        """As RabbitMQ says it: the node may be connected to a host without the stream's replica."""
        refusal = "NOT_FOUND - no replica here"
        self.first(Lie.CONFIRM_ONLY)
        following = self.world.room()._follower._following
        with (
            mock.patch.object(type(following), "fault", refusal),
            mock.patch.object(type(following), "refresh"),
        ):
            outcome = self.say("hello")
            self.world.advance(PATIENCE + 1)
        self.assertIn(refusal, self.refused(outcome)["text"])

    def test_what_is_looked_for_is_joined(self) -> None:
        self.first(Lie.CONFIRM_ONLY)
        outcomes = [self.say("hello"), self.say("hello")]
        self.world.advance(MENDED)
        self.assertEqual([o[0].id for o in outcomes], ["hello"] * 2)
        self.assertEqual(self.bob.texts, ["hello"])
        self.assertFalse(self.say("hello")[0].new)


class RefusalTests(ReadBackCase):
    def test_never_stored(self) -> None:
        self.first(Lie.CONFIRM_ONLY, 1000)
        outcome = self.say("hello")
        self.world.advance(PATIENCE + 1)
        frame = self.refused(outcome)
        self.assertEqual((frame["code"], frame["id"]), ("unavailable", "hello"))
        self.assertNotIn("stored", frame)
        self.assertLess(len(self.broker.appended), 6, "sent too often")
        self.assertFalse(self.bob.texts)

    def test_known_to_be_stored_nowhere(self) -> None:
        with mock.patch.object(
            self.broker, "append", side_effect=lambda *_: _failed(NotStored("it is full"))
        ):
            frame = self.refused(self.say("hello"))
        self.assertEqual((frame["id"], frame["stored"]), ("hello", False))
        self.assertIn("it is full", frame["text"])

    def test_the_room_cannot_be_read(self) -> None:
        self.bob.session.close()
        self.world.forget()
        self.broker.interrupt()
        outcome = self.say("hello")
        self.world.advance(PATIENCE + 1)
        self.assertIs(self.refused(outcome)["stored"], False)

    def test_nothing_is_left_behind(self) -> None:
        self.first(Lie.CONFIRM_ONLY, 1000)
        before = len(self.world.clock.getDelayedCalls())
        self.say("hello", sender=self)
        self.world.advance(PATIENCE + 1)
        publisher = self.world.room()._publisher
        self.assertFalse(publisher._lines.waiting)
        self.assertFalse(publisher._read_back.under_way)
        self.assertFalse(len(publisher))
        self.assertLessEqual(len(self.world.clock.getDelayedCalls()), before)


class LineTests(ReadBackCase):
    """One sender's publishes, of which the next is sent when the one before is stored."""

    def test_who_waits_for_one_that_never_comes_is_answered_in_time(self) -> None:
        self.broker.lie = lambda stream, number, channel: Lie.DROP
        early = [self.say(text, sender=self) for text in ("a", "b")]
        self.world.advance(PATIENCE / 2)
        late = self.say("c", sender=self)
        self.world.advance(PATIENCE / 2 + 0.25)
        first, second = [self.refused(outcome) for outcome in early]
        self.assertNotIn("stored", first)
        self.assertIs(second["stored"], False)
        self.assertEqual(late, [])
        self.world.advance(PATIENCE / 2)
        self.assertNotIn("stored", self.refused(late))
        self.assertFalse(self.world.room()._publisher._lines.waiting)

    def test_many_that_fail_one_after_the_other(self) -> None:
        self.first(Lie.DROP)
        outcomes = [self.say("first", sender=self)]
        failing = mock.patch.object(
            self.broker, "append", side_effect=lambda *_: _failed(NotStored("it is full"))
        )
        with failing:
            outcomes += [self.say(str(n), sender=self) for n in range(UNDER_WAY)]
            self.world.advance(PATIENCE + 1)
        self.assertEqual({self.refused(outcome)["code"] for outcome in outcomes}, {"unavailable"})
        self.assertFalse(len(self.world.room()._publisher))

    def test_each_record_has_the_trace_of_its_own_request(self) -> None:
        traces: list[tuple[str, bytes]] = []
        append = self.broker.append

        def traced(stream: Stream, body: bytes, id: str, time: int) -> Deferred[None]:
            traces.append((TRACE.get(), id.encode()))
            return append(stream, body, id, time)

        self.first(Lie.STORE_LATE)
        with mock.patch.object(self.broker, "append", traced):
            for text in ("a", "b", "c"):
                before = TRACE.set(f"trace of {text}")
                self.say(text, sender=self)
                TRACE.reset(before)
            self.world.advance(LATE + MENDED)
        self.assertEqual(self.bob.texts, ["a", "b", "c"])
        for trace, id in traces:
            self.assertIn(trace, (f"trace of {id.decode()}", ""))
        self.assertEqual([(f"trace of {t}", t.encode()) in traces for t in "abc"], [True] * 3)


class OrderTests(ReadBackCase):
    def test_what_one_sender_says_stays_in_order(self) -> None:
        """The first is dropped, and those behind it would not have been."""
        sender = object()
        for lie in (Lie.CONFIRM_ONLY, Lie.DROP, Lie.STORE_LATE):
            self.broker.appended.clear()
            before = len(self.bob.texts)
            self.first(lie)
            texts = [f"{lie.name}-{n}" for n in range(20)]
            outcomes = [self.say(text, sender) for text in texts]
            self.world.advance(MENDED + LATE)
            self.assertEqual([o[0].id for o in outcomes], texts)
            self.assertEqual(self.bob.texts[before:], texts)

    def test_others_do_not_wait(self) -> None:
        self.first(Lie.CONFIRM_ONLY)
        slow, quick = self.say("slow", object()), self.say("quick", object())
        self.assertEqual((slow, [r.id for r in quick]), ([], ["quick"]))
        self.world.advance(MENDED)
        self.assertEqual(self.bob.texts, ["quick", "slow"])

    def test_who_sends_without_a_connection_waits_for_nobody(self) -> None:
        self.first(Lie.CONFIRM_ONLY)
        slow, quick = self.say("slow"), self.say("quick")
        self.assertEqual((slow, [r.id for r in quick]), ([], ["quick"]))

    def test_who_never_gets_a_turn_is_told_that_nothing_was_stored(self) -> None:
        sender = object()
        self.first(Lie.CONFIRM_ONLY, 1000)
        outcomes = [self.say(text, sender) for text in ("one", "two")]
        self.world.advance(PATIENCE + 1)
        first, second = (o[0].value.frame() for o in outcomes)
        self.assertNotIn("stored", first)
        self.assertIs(second["stored"], False)


class SeveralTests(ReadBackCase):
    """One sender has several messages under way, over what keeps their order."""

    def setUp(self) -> None:
        super().setUp()
        self.broker.keeps_order = True
        self.sender = object()

    def say_all(self, *texts: str) -> list[list[Any]]:
        return [self.say(text, self.sender) for text in texts]

    def test_they_do_not_wait_for_each_other(self) -> None:
        self.broker.lie = lambda *_: Lie.DROP
        self.say_all("a", "b", "c")
        self.assertEqual(len(self.broker.appended), 3)

    def test_one_at_a_time_needs_nothing_made_ready(self) -> None:
        self.say_all("a", "b")
        self.assertFalse(self.broker.wanted)
        self.first(Lie.DROP)
        self.broker.appended.clear()
        self.say_all("c", "d")
        self.assertTrue(self.broker.wanted)

    def test_those_that_were_lost_together_are_sent_again_in_order(self) -> None:
        """And who follows them waits: they go over another lane."""
        self.broker.lie = lambda _, number, lane: Lie.NONE if number < 2 or lane else Lie.DROP
        texts = [f"{n}" for n in range(6)]
        outcomes = self.say_all(*texts)
        self.assertEqual((self.bob.texts, len(self.broker.appended)), (texts[:2], 6))
        end: Deferred[int] = Deferred()
        with mock.patch.object(self.broker, "end", return_value=end):
            self.world.advance(MENDED)
            self.assertTrue(self.broker.distrusted)
            outcomes += self.say_all("later")
        self.assertEqual(len(self.broker.appended), 6)
        end.callback(1)
        self.world.advance(MENDED)
        self.assertEqual(self.bob.texts, [*texts, "later"])
        self.assertEqual([outcome[0].id for outcome in outcomes], [*texts, "later"])

    def test_one_that_was_overtaken_is_given_up(self) -> None:
        """It must not come behind those that were sent after it."""
        self.first(Lie.CONFIRM_ONLY)
        first, second, third = self.say_all("a", "b", "c")
        self.assertEqual([outcome[0].id for outcome in (second, third)], ["b", "c"])
        frame = self.refused(first)
        self.assertEqual(frame["code"], "unavailable")
        self.assertNotIn("stored", frame)
        self.world.advance(PATIENCE)
        self.assertEqual((self.bob.texts, len(self.broker.appended)), (["b", "c"], 3))

    def test_one_that_is_refused_takes_nobody_with_it(self) -> None:
        refused = mock.patch.object(
            self.broker, "append", side_effect=lambda *_: _failed(NotStored("it is full"))
        )
        self.first(Lie.STORE_LATE)
        first = self.say("a", self.sender)
        with refused:
            second = self.say("b", self.sender)
        self.assertIs(self.refused(second)["stored"], False)
        self.assertEqual(first, [])
        self.world.advance(MENDED + LATE)
        self.assertEqual(self.bob.texts, ["a"])

    def test_the_room_is_lost_with_all_of_them(self) -> None:
        self.broker.lie = lambda *_: Lie.DROP
        outcomes = self.say_all("a", "b", "c")
        self.world.room()._publisher.forget()
        self.world.turn()
        self.assertEqual({self.refused(one)["code"] for one in outcomes}, {"unavailable"})
        self.assertFalse(len(self.world.room()._publisher))


class DirectoryTests(ReadBackCase):
    def test_a_change_that_was_confirmed_and_not_stored(self) -> None:
        for lie in (Lie.CONFIRM_ONLY, Lie.DROP, Lie.STORE_LATE, Lie.STORE_TWICE):
            self.broker.appended.clear()
            self.first(lie)
            created = self.world.begin(self.world.sites[0].directory.create(f"room-{lie.name}"))
            self.world.advance(MENDED)
            self.assertEqual(created, [True])
            self.world.advance(LATE)

    def test_a_repeated_event_changes_nothing(self) -> None:
        """Created, deleted, and the first event once more: it stays deleted."""
        directory = self.world.sites[0].directory
        self.broker.appended.clear()
        self.world.do(directory.create("attic"))
        self.world.do(directory.delete("attic"))
        self.broker.store(DIRECTORY, self.broker.appended[0], self.world.now)
        self.world.turn()
        self.assertIsNone(directory.find("attic"))
        fresh = self.world.add_site()
        self.assertIsNone(fresh.directory.find("attic"))


def _failed(error: Exception) -> Deferred[None]:
    failed: Deferred[None] = Deferred()
    failed.errback(error)
    return failed
