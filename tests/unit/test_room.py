"""One room on one node: publishing each id once, and all readers seeing the same."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from chatd.access.identity import Identity
from chatd.brokers.interfaces import NotStored, Record, Retention, Stream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.messages import WINDOW, Content
from chatd.rooms import history
from chatd.rooms.cache import RECENT_BYTES, weight
from chatd.rooms.follower import TAIL, RoomFollower, RoomState
from chatd.rooms.publisher import PATIENCE
from chatd.rooms.records import OwnRecords, message_of
from chatd.rooms.registry import SWEEP
from chatd.rooms.room import IDLE
from chatd.rooms.start_position import After, Last, Since
from chatd.rooms.subscription import SubscriptionState
from tests.support.lying_broker import Lie, LyingBroker
from tests.support.publishing import publish
from tests.support.world import LINES, Reader, World


class RoomCase(TestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, **more: Any) -> None:
        self.world = World(**more)

    def after(self, offset: int) -> After:
        return After(Cursor(self.world.stream().epoch, offset))

    def join(self, user: str = "bob", offset: int | None = None, **more: Any) -> Reader:
        start = None if offset is None else self.after(offset)
        return self.world.join("lobby", user, start, **more)

    def resumed(self, offset: int = -1, node: int = 0) -> list[str]:
        return self.join("late", offset, node=node).texts


class PublishTests(RoomCase):
    def test_who_is_there_gets_it(self) -> None:
        bob = self.join()
        self.assertTrue(self.world.say("lobby", "hello"))
        self.assertEqual(bob.texts, ["hello"])
        frame = bob.messages[0]
        self.assertEqual((frame["room"], frame["user"], frame["text"]), ("lobby", "ann", "hello"))

    def test_the_same_id_twice(self) -> None:
        bob = self.join()
        self.assertTrue(self.world.say("lobby", "hello", id="k"))
        self.assertFalse(self.world.say("lobby", "other", id="k"))
        self.assertTrue(self.world.say("lobby", "mine", user="bob", id="k"))
        self.assertEqual(bob.texts, ["hello", "mine"])
        self.assertEqual(self.world.do(self.world.broker.end(self.world.stream())), 1)

    def test_an_id_of_the_servers_own_repeats_nothing(self) -> None:
        """128 random bits; and even where they were guessed, nothing is looked up."""
        bob = self.join()
        for _ in range(20):
            self.assertTrue(self.world.say("lobby", "x"))
        ids = {frame["id"] for frame in bob.messages}
        self.assertEqual(len(ids), 20)
        for id in ids:
            self.assertRegex(id, "^[0-9a-f]{32}$")
        self.assertTrue(self.world.say("lobby", "mine", id="k"))
        before = self.world.do(self.world.broker.end(self.world.stream()))
        with mock.patch("chatd.protocol.publication.token_hex", return_value="k"):
            self.assertTrue(self.world.say("lobby", "not a repeat"))
        after = self.world.do(self.world.broker.end(self.world.stream()))
        self.assertEqual(after, before + 1, "it was not stored")

    def test_the_same_id_while_the_first_is_under_way(self) -> None:
        room = self.world.room()
        content = Content("ann", "k", "hello")
        outcomes = [self.world.begin(room.publish(content)) for _ in range(3)]
        self.assertEqual(outcomes, [[], [], []])
        self.world.turn()
        self.assertEqual(outcomes, [[True], [True], [True]])
        self.assertEqual(self.resumed(), ["hello"])
        self.assertEqual(self.world.do(self.world.broker.end(self.world.stream())), 0)

    def test_the_same_id_between_its_confirmation_and_its_return(self) -> None:
        room = self.world.room()
        content = Content("ann", "k", "hello")
        with mock.patch.object(room._follower, "records") as records:  # our follower lags
            waiting = [self.world.begin(room.publish(content)) for _ in range(2)]
            self.world.turn()
            self.assertEqual(waiting, [[], []], "acknowledged before it can be read here")
            room.interrupted()
            self.world.advance(PATIENCE - 1)
            self.assertEqual(waiting, [[], []], "acknowledged unseen")
            late = self.world.begin(room.publish(content))
        room._follower.records(records.call_args[0][0])
        self.assertEqual([*waiting, late], [[True], [True], [True]])
        self.assertFalse(self.world.do(room.publish(content)))

    def test_what_is_not_seen_in_time_is_not_acknowledged(self) -> None:
        room = self.world.room()
        with mock.patch.object(room._follower, "records"):
            error = self.world.error(
                publish(self.world.sites[0].chat, "ann", "lobby", "hello", "k"),
                within=PATIENCE + 1,
            )
        frame = error.frame()
        self.assertEqual((frame["code"], frame["id"]), ("unavailable", "k"))
        self.assertNotIn("stored", frame)
        self.assertFalse(len(room._publisher))

    def test_who_does_not_wait_for_a_publish_any_more_holds_its_place(self) -> None:
        """A client that posts and leaves, again and again, is bounded like all others."""
        room = self.world.room()
        with (
            mock.patch.object(room._follower, "records"),
            mock.patch("chatd.rooms.publisher.PENDING", 2),
        ):
            for content in (Content("ann", "a", "a", fresh=True), Content("ann", "b", "b")):
                left = room.publish(content)
                left.cancel()
                self.failureResultOf(left, CancelledError)
            refused = self.world.begin(room.publish(Content("ann", "c", "c", fresh=True)))
            refused[0].trap(NotStored)
            self.world.advance(PATIENCE + 1)
        self.assertFalse(len(room._publisher))

    def test_a_neighbour_with_our_message_in_other_words(self) -> None:
        """Only a record with the very bytes that we wrote says what we said."""
        bob, room = self.join(), self.world.room()
        ours = self.world.begin(room.publish(Content("ann", "k", "ours")))
        theirs = Content("ann", "k", "theirs").record(int(self.world.clock.seconds() * 1000))
        room._follower.records([Record(0, theirs)])
        self.assertEqual(ours, [True], "the room has a message with this id")
        self.assertEqual(bob.texts, ["theirs"])

    def test_what_only_a_vanished_stream_held_is_not(self) -> None:
        room = self.world.room()
        with mock.patch.object(room._follower, "records"):
            waiting = self.world.begin(room.publish(Content("ann", "k", "hello")))
            self.world.turn()
            room._follower.gone()
            waiting[0].trap(Unavailable)

    def test_under_way_when_the_broker_goes_away(self) -> None:
        for stored in (True, False):
            room = self.world.room()
            key = f"k{stored}"
            outcomes = [self.world.begin(room.publish(Content("ann", key, key))) for _ in "ab"]
            self.world.broker.interrupt(stored)
            self.world.turn()
            for outcome in outcomes:
                self.assertIsInstance(outcome[0], Failure)
                outcome[0].trap(Unavailable)
            self.world.broker.resume()
            self.world.turn()
            self.assertEqual(self.world.say("lobby", key, id=key), not stored)
        self.assertEqual(self.resumed(), ["kTrue", "kFalse"])

    def test_refused_while_the_broker_is_away(self) -> None:
        self.world.room()
        self.world.broker.interrupt()
        error = self.world.error(publish(self.world.sites[0].chat, "a", "lobby", "x"))
        self.assertIs(error.code, Code.UNAVAILABLE)
        self.world.broker.resume()
        self.world.turn()
        self.assertTrue(self.world.say("lobby", "x"))
        self.assertEqual(self.resumed(), ["x"])

    def test_stored_in_the_order_of_the_calls_whatever_must_be_waited_for(self) -> None:
        self.make(nodes=2)
        chat = self.world.sites[1].chat
        creating: list[Deferred[None]] = []

        def create(stream: object) -> Deferred[None]:
            creating.append(Deferred())
            return creating[-1]

        with mock.patch.object(self.world.sites[1].broker, "create", create):
            for n in range(5):
                self.world.begin(publish(chat, "ann", "lobby", f"m{n}"))
            self.world.turn()
        for making in reversed(creating):
            making.callback(None)
        self.world.begin(publish(chat, "ann", "lobby", "m5"))
        self.world.turn()
        self.assertEqual(self.resumed(), [f"m{n}" for n in range(6)])

    def test_an_id_is_known_for_exactly_a_window(self) -> None:
        for distance, known in ((WINDOW - 1, True), (WINDOW, False)):
            self.make()
            self.world.room()
            self.world.say("lobby", "hello", id="k")
            self.world.store("lobby", *(f"m{n}" for n in range(distance)))
            self.assertEqual(self.world.say("lobby", "hello", id="k"), not known, distance)

    def test_an_id_is_known_to_a_room_attached_again(self) -> None:
        self.world.say("lobby", "hello", id="k")
        self.world.store("lobby", *(f"m{n}" for n in range(WINDOW - 1)))
        self.world.forget()
        self.assertFalse(self.world.say("lobby", "hello", id="k"))

    def test_an_id_is_known_to_another_node(self) -> None:
        self.make(nodes=2)
        self.world.say("lobby", "hello", id="k", node=0)
        self.assertFalse(self.world.say("lobby", "hello", id="k", node=1))

    def test_two_nodes_at_once_and_no_reader_sees_it_twice(self) -> None:
        self.make(nodes=2)
        readers = [self.join(f"r{n}", node=n) for n in range(2)]
        content = Content("ann", "k", "hello")
        rooms = [self.world.room(node=n) for n in range(2)]
        outcomes = [self.world.begin(room.publish(content)) for room in rooms]
        self.world.turn()
        self.assertEqual(outcomes, [[True], [True]])
        self.assertEqual(self.world.do(self.world.broker.end(self.world.stream())), 1)
        self.assertEqual([reader.texts for reader in readers], [["hello"], ["hello"]])
        self.assertEqual(readers[0].cursor, readers[1].cursor)

    def test_what_was_confirmed_in_an_earlier_life_is_not_known_in_the_next(self) -> None:
        room = self.world.room()
        waiting = self.world.begin(room.publish(Content("ann", "k", "hello")))
        room.detach()
        self.world.turn()
        waiting[0].trap(Unavailable)
        self.assertEqual(self.world.do(self.world.broker.end(self.world.stream())), 0)


class SameForAllTests(RoomCase):
    """Live, resumed from the cache, resumed from the broker, on a node that has just attached."""

    def everyone_sees(self, bob: Reader, expected: list[str]) -> None:
        self.assertEqual(bob.texts, expected, "live")
        self.assertEqual(self.resumed(), expected, "resumed")
        self.assertEqual(self.resumed(node=1), expected, "another node")
        fresh = len(self.world.sites)
        self.world.add_site()
        self.assertEqual(self.resumed(node=fresh), expected, "a new node")

    def test_repetitions_in_the_raw_stream(self) -> None:
        for skip in (0, 2):
            self.make(nodes=2, skip=skip)
            bob = self.join()
            expected: list[str] = []
            for n in range(300):
                self.world.store("lobby", f"m{n}")
                expected.append(f"m{n}")
                self.world.store("lobby", f"m{n // 2}")
            self.everyone_sees(bob, expected)

    def test_repetitions_at_the_edge_of_the_window(self) -> None:
        self.make(nodes=2)
        bob = self.join()
        self.world.store("lobby", "a", "b")
        self.world.store("lobby", *(f"m{n}" for n in range(WINDOW - 1)))
        self.world.store("lobby", "b", "a")  # one as far away as counts, one too far
        self.everyone_sees(bob, ["a", "b", *(f"m{n}" for n in range(WINDOW - 1)), "a"])

    def test_a_repetition_of_what_lies_before_the_tail_a_new_node_reads(self) -> None:
        for distance in (WINDOW - 300, WINDOW - 1, WINDOW):
            self.make(nodes=2)
            bob = self.join()
            self.world.store("lobby", *(f"old{n}" for n in range(TAIL)))
            self.world.store("lobby", "a", *(f"m{n}" for n in range(distance - 1)), "a")
            self.assertEqual(bob.texts.count("a"), 1)
            self.world.add_site()
            for node in (0, 2):
                last = self.world.join("lobby", "late", Last(1000), node=node)
                self.assertEqual(last.texts, bob.texts[-1000:], (distance, node))

    def test_a_repetition_among_foreign_records_of_the_tail(self) -> None:
        self.make(nodes=2)
        self.world.store("lobby", "a")
        self.world.foreign("lobby", *[b"junk"] * 599)
        self.world.store("lobby", "a", *(f"m{n}" for n in range(100)))
        self.world.foreign("lobby", *[b"junk"] * (300 + TAIL - 701))
        self.world.add_site()
        for node in (0, 2):
            self.assertEqual(self.resumed(400, node), [f"m{n}" for n in range(100)], node)

    def test_a_cursor_that_is_ahead_of_our_own_follower(self) -> None:
        self.make(nodes=2)
        bob = self.join("bob", node=1)
        room = self.world.room(node=0)
        with mock.patch.object(room._follower, "records") as records:  # it lags
            self.world.store("lobby", "one", "two")
            session, _ = self.world.session("bob", node=0)
            joining = self.world.begin(session.join("lobby", After(bob.cursor)))
            self.world.turn()
            self.assertEqual(joining, [])
        room._follower.records(records.call_args.args[0])
        self.world.turn()
        self.assertEqual((joining[0].cursor, joining[0].gap), (bob.cursor, False))

    def test_foreign_and_broken_records(self) -> None:
        self.make(nodes=2)
        bob = self.join()
        self.world.store("lobby", "one")
        self.world.foreign(
            "lobby",
            b"",
            b"\xff\xfe",
            b"null",
            b"[" * 100_000,
            b'{"id":"x","user":"u","text":1,"time":"2027-01-01T00:00:00Z"}',
            b'{"id":"x","user":"","text":"t","time":"2027-01-01T00:00:00Z"}',
            b'{"id":"x","user":"u","text":"t","time":"yesterday"}',
            b'{"id":"x","user":"u","text":"\\ud800","time":"2027-01-01T00:00:00Z"}',
        )
        self.world.store("lobby", "two")
        self.everyone_sees(bob, ["one", "two"])
        self.assertIn(
            b'chatd_bad_records_total{reason="format"} 8.0', self.world.sites[0].metrics.text()
        )

    def test_a_skipped_record_is_logged_once_with_its_place(self) -> None:
        self.join()
        with capturedLogs() as events:
            self.world.foreign("lobby", b"junk")
            self.world.store("lobby", "two")
        logged = [event for event in events if event.get("offset") == 0]
        self.assertEqual(len(logged), 1)
        self.assertEqual(logged[0]["room"], "lobby")

    def test_a_record_with_a_fault_is_no_message_whatever_it_says(self) -> None:
        """Not even one with the very bytes that this node is publishing."""
        bob, room = self.join(), self.world.room()
        mine, theirs = Content("ann", "k", "mine"), Content("ann", "l", "theirs")
        doing = self.world.begin(room.publish(mine))
        now = int(self.world.clock.seconds() * 1000)
        faulty = [Record(n, one.record(now), "in pieces") for n, one in enumerate((mine, theirs))]
        with capturedLogs() as events:
            room._follower.records(faulty)
        self.assertEqual((doing, bob.texts), ([], []))
        said = [event["why"] for event in events if event.get("room") == "lobby"]
        self.assertEqual(said, ["in pieces"])
        self.assertIn(
            b'chatd_bad_records_total{reason="fault"} 2.0', self.world.sites[0].metrics.text()
        )

    def test_a_crowd_is_encoded_for_once(self) -> None:
        readers = [self.join(f"r{n}") for n in range(50)]
        before = LINES.encoded
        self.world.store("lobby", "one")
        self.assertEqual(LINES.encoded, before + 1)
        self.assertEqual({tuple(reader.texts) for reader in readers}, {("one",)})


class ExpiryTests(RoomCase):
    def make(self, **more: Any) -> None:
        super().make(**({"retention": Retention(age=100)} | more))

    def test_an_id_expires_with_its_message(self) -> None:
        """To who publishes, and to who reads what other programs wrote."""
        bob = self.join()
        self.world.say("lobby", "one", id="k")
        self.world.store("lobby", "two")
        self.world.advance(99.9)
        self.assertFalse(self.world.say("lobby", "again", id="k"))
        self.world.store("lobby", "two")
        self.assertEqual(bob.texts, ["one", "two"])
        self.world.advance(100.1)
        self.assertTrue(self.world.say("lobby", "anew", id="k"))
        self.world.store("lobby", "two")
        self.assertEqual(bob.texts, ["one", "two", "anew", "two"])

    def test_never_served_late(self) -> None:
        self.join("keeper")
        self.world.say("lobby", "old")
        self.world.advance(60)
        self.world.say("lobby", "new")
        self.world.advance(39.9)
        self.assertEqual(self.resumed(), ["old", "new"])
        self.world.advance(0.2)
        for start in (Last(10), Since(0)):
            self.assertEqual(self.world.join("lobby", "x", start).texts, ["new"], start)
        late = self.join("late", -1)
        self.assertEqual(late.texts, ["new"])
        self.assertTrue(late.joined is not None and late.joined.gap)
        self.world.advance(60)
        self.assertEqual(self.world.join("lobby", "x", Last(10)).texts, [])

    def test_who_has_read_what_expired_is_told_of_no_gap(self) -> None:
        bob = self.join("bob")
        self.world.say("lobby", "old")
        self.world.advance(101)
        self.world.say("lobby", "new")
        again = self.world.resume("lobby", bob)
        self.assertEqual(again.texts, [])
        self.assertTrue(again.joined is not None and not again.joined.gap)

    def test_expired_behind_a_stalled_reader(self) -> None:
        bob = self.join("bob", stalled=True)
        self.world.say("lobby", "old")
        self.world.advance(101)
        self.world.say("lobby", "new")
        bob.read_on()
        self.world.turn()
        self.assertEqual(bob.texts, ["GAP", "new"])

    def test_expired_while_the_broker_was_away(self) -> None:
        # this broker still has them, as one that drops whole segments would
        bob = self.join("bob")
        broker = self.world.broker
        with mock.patch("chatd.brokers.memory.log.Log.trim_age"):
            broker.interrupt()
            past = self.world.now - 101_000
            stored = [Content("a", f"m{n}", f"m{n}").record(past) for n in range(2)]
            for body in stored:
                broker.store(self.world.stream(), body, self.world.now)
            broker.store(self.world.stream(), Content("a", "n", "new").record(self.world.now), 0)
            with mock.patch(
                "chatd.brokers.memory.log.Log.since",
                lambda log, start, stop, now: [
                    e.record for e in log.entries[log.at_offset(start) :]
                ],
            ):
                broker.resume()
                self.world.turn()
        self.assertEqual(bob.texts, ["GAP", "new"])

    def test_a_message_that_has_expired_when_it_comes_is_shown_to_nobody(self) -> None:
        bob = self.join("bob")
        self.world.store("lobby", "one")
        self.world.store("lobby", "ancient", time=self.world.now - 101_000)
        self.world.store("lobby", "two")
        self.assertEqual(bob.texts, ["one", "GAP", "two"])
        self.assertEqual(self.resumed(), ["one", "GAP", "two"])

    def test_expired_while_the_process_stood_still(self) -> None:
        bob = self.join("bob")
        self.world.say("lobby", "one")
        stream, broker = self.world.stream(), self.world.broker
        for text in ("late", "later"):
            broker.store(stream, Content("a", text, text).record(self.world.now), self.world.now)
        self.world.clock.rightNow += 101  # what is due comes after it, as when a process is thawed
        broker.store(stream, Content("a", "new", "new").record(self.world.now), self.world.now)
        self.world.turn()
        self.assertEqual(bob.texts, ["one", "GAP", "new"])
        self.assertEqual(self.world.resume("lobby", bob).texts, [])

    def test_a_node_that_attaches_serves_nothing_expired(self) -> None:
        self.world.store("lobby", "a", "b")
        self.world.advance(101)
        self.assertEqual(self.world.join("lobby", "x", Last(10)).texts, [])
        late = self.join("late", -1)
        self.assertTrue(late.joined is not None and late.joined.gap)
        self.world.say("lobby", "c")
        self.assertEqual(late.texts, ["c"])


class AttachTests(RoomCase):
    """A room that is read from its stream's end, with more of the stream before that or none."""

    def test_where_the_newest_begin(self) -> None:
        """As many as there are, and fewer."""
        for n, texts in ((1, ["three"]), (2, ["two", "three"]), (3, ["one", "two", "three"])):
            self.make()
            self.world.store("lobby", "one", "two", "three")
            self.assertEqual(self.world.join("lobby", "bob", Last(n)).texts, texts, n)

    def test_what_is_gone_before_it_is_a_gap_to_whom_it_concerns(self) -> None:
        for offset, gap in ((2, True), (3, True), (4, False), (5, False), (6, False)):
            self.make()
            self.world.store("lobby", *(f"m{n}" for n in range(8)))
            self.world.broker.truncate(self.world.stream(), 5)
            reader = self.join("bob", offset)
            self.assertEqual(
                [t for t in reader.texts if t != "GAP"], ["m5", "m6", "m7"][max(0, offset - 4) :]
            )
            assert reader.joined is not None
            self.assertEqual(reader.joined.gap or "GAP" in reader.texts, gap, offset)

    def test_how_long_it_has_not_been_level(self) -> None:
        self.join()
        follower = self.world.room()._follower
        self.world.advance(5)
        self.assertEqual((follower.state, follower.lag), (RoomState.LEVEL, 0.0))
        follower.interrupted()
        self.assertEqual((follower.state, follower.known), (RoomState.AWAY, True))
        self.world.advance(5)
        follower.interrupted()
        self.assertEqual(follower.lag, 5.0)
        follower.caught_up(follower.head)
        self.assertEqual((follower.state, follower.lag), (RoomState.LEVEL, 0.0))


class InterruptionTests(RoomCase):
    def test_a_broker_restart_is_not_noticed_by_readers(self) -> None:
        self.make(nodes=2)
        bob = self.join("bob")
        self.world.say("lobby", "one")
        self.world.broker.interrupt()
        self.world.turn()
        self.world.say("lobby", "two", node=1)
        self.world.say("lobby", "three", node=1)
        self.assertEqual(bob.texts, ["one"])
        self.world.broker.resume()
        self.world.turn()
        self.world.say("lobby", "four")
        self.assertEqual(bob.texts, ["one", "two", "three", "four"])

    def test_stalled_and_writable_again_while_the_broker_is_away(self) -> None:
        bob = self.join("bob")
        bob.stall()
        self.world.store("lobby", *(f"m{n}" for n in range(2000)))
        self.world.broker.interrupt()
        self.world.turn()
        bob.read_on()
        self.world.advance(20)
        self.assertIs(bob.state, SubscriptionState.BEHIND)
        self.world.broker.resume()
        self.world.turn()
        self.assertEqual(bob.texts, [f"m{n}" for n in range(2000)])
        self.assertIs(bob.state, SubscriptionState.LIVE)

    def test_a_read_that_fails_is_tried_again(self) -> None:
        bob = self.join("bob")
        bob.stall()
        self.world.store("lobby", *(f"m{n}" for n in range(2000)))
        with mock.patch.object(self.world.broker, "read", side_effect=Unavailable):
            bob.read_on()
            self.world.advance(5)
            self.assertEqual(bob.texts, [])
        self.world.advance(2)
        self.assertEqual(bob.texts, [f"m{n}" for n in range(2000)])

    def test_truncated_while_away_is_a_gap_for_who_was_live(self) -> None:
        self.make(nodes=2)
        live, stalled = self.join("live"), self.join("stalled")
        self.world.say("lobby", "m0")
        stalled.stall()
        self.world.say("lobby", "m1")
        self.world.broker.interrupt()
        self.world.turn()
        for n in range(2, 6):
            self.world.say("lobby", f"m{n}", node=1)
        self.world.broker.truncate(self.world.stream(), 4)
        self.world.broker.resume()
        self.world.turn()
        stalled.read_on()
        self.world.turn()
        self.assertEqual(live.texts, ["m0", "m1", "GAP", "m4", "m5"])
        self.assertEqual(stalled.texts, ["m0", "GAP", "m4", "m5"])
        gap = next(f for f in live.frames if f["type"] == "gap")
        self.assertEqual(gap["cursor"], str(self.after(3).cursor))

    def test_truncated_to_nothing_while_away(self) -> None:
        self.make(nodes=2)
        bob = self.join("bob")
        self.world.broker.interrupt()
        self.world.turn()
        self.world.say("lobby", "m0", node=1)
        self.world.broker.truncate(self.world.stream(), 1)
        self.world.broker.resume()
        self.world.turn()
        self.assertEqual(bob.texts, ["GAP"])
        self.world.say("lobby", "m1")
        self.assertEqual(bob.texts, ["GAP", "m1"])

    def test_truncated_while_the_live_one_does_not_drain(self) -> None:
        self.make(nodes=2)
        bob = self.join("bob")
        bob.stall()  # but nothing has been offered yet, so it still counts as live
        self.world.broker.interrupt()
        self.world.turn()
        self.world.say("lobby", "m0", node=1)
        self.world.say("lobby", "m1", node=1)
        self.world.broker.truncate(self.world.stream(), 1)
        self.world.broker.resume()
        self.world.turn()
        self.assertEqual(bob.texts, [])
        bob.read_on()
        self.world.turn()
        self.assertEqual(bob.texts, ["GAP", "m1"])

    def test_attached_while_the_broker_is_away(self) -> None:
        self.make(nodes=2)
        self.world.say("lobby", "one")
        self.world.forget()
        self.world.broker.interrupt()
        chat = self.world.sites[0].chat
        error = self.world.error(publish(chat, "a", "lobby", "x"), within=30)
        self.assertIs(error.code, Code.UNAVAILABLE)
        self.world.broker.resume()
        self.world.turn()
        self.assertEqual(self.resumed(), ["one"])


class NewLifeTests(RoomCase):
    def vanish(self) -> None:
        """The stream is deleted on the broker, as an operator might."""
        self.world.do(self.world.broker.delete(self.world.stream()))
        self.world.turn()

    def test_a_stream_that_vanished_is_a_gap_and_a_new_life(self) -> None:
        bob = self.join("bob")
        self.world.say("lobby", "one")
        before = self.world.stream()
        self.vanish()
        self.assertNotEqual(self.world.stream(), before)
        self.world.say("lobby", "two")
        self.assertEqual(bob.texts, ["one", "GAP", "two"])
        self.assertEqual(bob.cursor.epoch, self.world.stream().epoch)
        again = self.join("late")
        self.assertEqual(again.texts, [])

    def test_a_stalled_reader_is_told_of_the_gap_when_it_drains(self) -> None:
        bob = self.join("bob")
        bob.stall()
        self.world.say("lobby", "one")
        self.vanish()
        self.world.say("lobby", "two")
        self.assertEqual(bob.texts, [])
        bob.read_on()
        self.world.turn()
        self.assertEqual(bob.texts, ["GAP", "two"])

    def test_who_drains_while_the_new_stream_is_being_attached_misses_nothing(self) -> None:
        self.make(nodes=2)
        bob = self.join("bob")
        other = self.join("other", node=1)
        bob.stall()
        room = self.world.room()
        attach, waiting = room.attach, []

        def later() -> Any:
            waiting.append(self.world.broker.create(self.world.stream()))
            return waiting[-1]

        with mock.patch.object(room, "attach", later):
            self.vanish()
        self.assertIs(room.state, RoomState.DETACHED)
        self.world.say("lobby", "one", node=1)
        bob.read_on()
        self.assertEqual(bob.texts, ["GAP"])
        self.world.do(attach())
        self.world.say("lobby", "two", node=1)
        self.assertEqual(bob.texts, ["GAP", "one", "two"])
        self.assertEqual(other.texts, ["GAP", "one", "two"])

    def test_a_new_stream_that_cannot_be_made_at_once(self) -> None:
        bob = self.join("bob")
        create = self.world.broker.create
        failing = mock.Mock(side_effect=lambda stream: self._away())
        with mock.patch.object(self.world.broker, "create", failing):
            self.vanish()
            self.world.advance(12)
        self.assertEqual(self.world.broker.create, create)
        self.world.advance(6)
        self.world.turn()
        self.world.store("lobby", "two")
        self.assertEqual(bob.texts, ["GAP", "two"])

    def _away(self) -> Any:
        return fail(Unavailable())

    def test_all_nodes_go_on_in_the_same_new_life(self) -> None:
        self.make(nodes=3)
        readers = [self.join(f"r{n}", node=n) for n in range(3)]
        self.vanish()
        for n in range(3):
            self.world.say("lobby", f"m{n}", node=n)
        for reader in readers:
            self.assertEqual(reader.texts, ["GAP", "m0", "m1", "m2"])
        self.assertEqual(len({reader.cursor for reader in readers}), 1)

    def test_who_was_not_there_when_it_vanished_does_not_make_it_again(self) -> None:
        """Cursors of the old life would fit: a node that has not used the room, or has just
        started, must find out too."""
        self.make(nodes=2)
        bob = self.join("bob")
        for text in ("one", "two", "three"):
            self.world.say("lobby", text)
        bob.session.close()
        self.world.forget("lobby")
        before = self.world.stream()
        self.world.do(self.world.broker.delete(before))
        for node in (1, self.world.sites.index(self.world.add_site())):
            back = self.world.resume("lobby", bob, node=node)
            assert back.joined is not None
            self.assertTrue(back.joined.gap)
            self.assertNotEqual(self.world.stream(), before)
            self.assertTrue(self.world.say("lobby", "four", id=f"four-{node}", node=node))
            self.assertEqual(back.texts[-1], "four")

    def test_many_who_find_it_missing_begin_one_new_life(self) -> None:
        self.make(nodes=2)
        self.world.forget("lobby")
        self.world.do(self.world.broker.delete(self.world.stream()))
        chat, somebody = self.world.sites[1].chat, Identity("somebody")
        create = self.world.sites[1].broker.create
        with mock.patch.object(self.world.sites[1].broker, "create", side_effect=create) as made:
            rooms = [self.world.begin(chat.room(somebody, "lobby")) for _ in range(3)]
            self.world.turn()
        self.assertEqual(made.call_count, 1)
        self.assertEqual({room.stream for (room,) in rooms}, {self.world.stream()})

    def test_a_missing_stream_of_a_room_that_is_deleted_meanwhile(self) -> None:
        self.make(nodes=2)
        self.world.forget("lobby")
        self.world.do(self.world.broker.delete(self.world.stream()))
        other, one = self.world.sites
        opening = self.world.begin(one.chat.room(Identity("somebody"), "lobby"))
        deleting = self.world.begin(other.directory.delete("lobby"))
        self.world.turn()
        self.assertEqual(deleting, [True])
        self.assertIsInstance(opening[0].value, ChatError)
        self.assertIsNone(one.directory.find("lobby"))

    def test_publish_meets_the_missing_stream_first(self) -> None:
        self.world.room()
        room = self.world.room()
        assert room._follower._following is not None
        room._follower._following.stop()  # our follower has not noticed
        self.world.do(self.world.broker.delete(self.world.stream()))
        error = self.world.error(publish(self.world.sites[0].chat, "a", "lobby", "x"))
        self.assertIs(error.code, Code.UNAVAILABLE)
        self.assertTrue(self.world.say("lobby", "x"))
        self.assertEqual(self.resumed(), ["x"])


class LateForTheOldLifeTests(TestCase):
    """Two nodes; on the first, publishes of one connection wait in line, for they are not stored,
    when the second finds that the room's stream is gone, and gives it another."""

    def setUp(self) -> None:
        self.world = World(nodes=2, broker=LyingBroker)
        broker = self.world.broker
        assert isinstance(broker, LyingBroker)
        self.broker = broker
        self.world.room()
        self.broker.lie = lambda stream, number, channel: Lie.DROP

    def say_in_line(self, *texts: str) -> list[list[Any]]:
        return [self.say(text, sender="ann's connection") for text in texts]

    def say(self, text: str, sender: object = None) -> list[Any]:
        chat = self.world.sites[0].chat
        return self.world.begin(publish(chat, "ann", "lobby", text, text, sender))

    def begin_anew(self) -> Stream:
        """The new stream, as the second node has it."""
        other = self.world.sites[1]
        self.world.room(node=1)
        self.world.do(other.broker.delete(self.world.stream()))
        self.world.turn()
        return other.directory.get("lobby").stream

    def kept(self, new: Stream, waiting: list[list[Any]]) -> None:
        """The room's stream is ``new``, with what was said there."""
        for outcome in waiting:
            self.assertIs(outcome[0].value.code, Code.UNAVAILABLE)
        self.assertEqual(self.world.stream(), new)
        self.assertEqual(self.world.join("lobby", "bob", Last(5)).texts, ["kept"])

    def test_what_waited_in_line_does_not_end_the_new_life(self) -> None:
        """It is sent to the stream that the room had; that this one is gone is no news."""
        waiting = self.say_in_line("one", "two")
        self.broker.lie = lambda stream, number, channel: Lie.NONE
        self.broker.interrupt()
        new = self.begin_anew()
        self.assertTrue(self.world.say("lobby", "kept", node=1))
        self.broker.resume()
        self.world.advance(1)
        self.kept(new, waiting)

    def test_what_waited_in_line_does_not_lead_others_to_the_old_stream(self) -> None:
        """Somebody speaks on the first node, too, before all that is settled."""
        waiting = self.say_in_line("one", "two", "three", "four")
        new = self.begin_anew()
        spoken = self.say("kept")
        self.broker.lie = lambda stream, number, channel: Lie.NONE
        self.world.advance(PATIENCE)
        self.assertEqual([receipt.id for receipt in spoken], ["kept"])
        self.kept(new, waiting)


class DeletedTests(RoomCase):
    def test_members_are_told_and_nothing_is_left_behind(self) -> None:
        bob, stalled = self.join("bob"), self.join("stalled")
        stalled.stall()
        self.world.say("lobby", "one")
        self.world.do(self.world.sites[0].directory.delete("lobby"))
        for reader in (bob, stalled):
            assert reader.error is not None
            self.assertIs(reader.error.code, Code.UNKNOWN_ROOM)
            self.assertIs(reader.state, SubscriptionState.CLOSED)
        self.assertFalse(self.world.sites[0].rooms._rooms)
        calls = list(self.world.clock.getDelayedCalls())
        self.world.advance(60)
        self.assertLessEqual(len(self.world.clock.getDelayedCalls()), len(calls))

    def test_deleted_while_it_is_being_attached(self) -> None:
        session, _ = self.world.session("bob")
        with mock.patch.object(self.world.broker, "follow"):
            joining = self.world.begin(session.join("lobby", self.after(-1)))
            self.world.turn()
            self.assertEqual(joining, [])
            self.world.do(self.world.sites[0].directory.delete("lobby"))
        self.assertIsInstance(joining[0], Failure)
        self.assertIs(joining[0].value.code, Code.UNKNOWN_ROOM)

    def test_deleted_and_made_again_while_a_place_is_sought(self) -> None:
        self.world.store("lobby", *(f"m{n}" for n in range(2000)))
        old = self.world.room()
        session, _ = self.world.session("bob")
        with mock.patch.object(self.world.broker, "read", return_value=(reading := _never())):
            joining = self.world.begin(session.join("lobby", self.after(5)))
            self.world.turn()
            self.assertEqual(joining, [])
            self.world.do(self.world.sites[0].directory.delete("lobby"))
            self.world.do(self.world.sites[0].directory.create("lobby"))
        reading.errback(Unavailable("gone"))
        self.world.turn()
        self.assertIs(joining[0].value.code, Code.UNAVAILABLE)
        self.assertFalse(old.subscriptions)


class IdleTests(RoomCase):
    def test_a_room_nobody_uses_is_let_go(self) -> None:
        bob = self.join("bob")
        self.world.store("lobby", *(f"m{n}" for n in range(100)))
        self.world.advance(60)
        site = self.world.sites[0]
        self.assertEqual(len(site.rooms._rooms), 1)
        self.assertTrue(site.budget.used)
        bob.session.close()
        self.world.advance(IDLE + 2 * SWEEP)
        self.assertFalse(site.rooms._rooms)
        self.assertEqual(site.budget.used, 0)
        self.assertFalse(self.world.broker._followings.get(self.world.stream()))
        self.assertEqual(self.resumed(), [f"m{n}" for n in range(100)])

    def test_a_room_in_which_a_place_is_sought_is_kept(self) -> None:
        self.world.store("lobby", *(f"m{n}" for n in range(2000)))
        session, _ = self.world.session("bob")
        reading = _never()
        self.patch(history, "PATIENCE", 2 * IDLE + 2 * SWEEP)
        with mock.patch.object(self.world.broker, "read", return_value=reading):
            joining = self.world.begin(session.join("lobby", self.after(5)))
            self.world.advance(IDLE + 2 * SWEEP)
        reading.callback([])
        self.world.turn()
        self.assertEqual(len(joining), 1)
        self.assertTrue(self.world.sites[0].rooms._rooms)


class TailTests(TestCase):
    """What a room that is attached reads first."""

    def test_is_parsed_as_it_comes_and_little_of_it_is_kept(self) -> None:
        world = World()
        room = mock.Mock()
        room.seen.return_value = False
        follower = RoomFollower(world.stream(), world.sites[0].rooms.node, room, OwnRecords())
        records = [
            Record(n, Content("ann", f"m{n}", "x" * 16_000).record(world.now)) for n in range(200)
        ]
        with (
            mock.patch.object(world.broker, "follow"),
            mock.patch("chatd.rooms.records.message_of", wraps=message_of) as parsed,
        ):
            attached = world.begin(follower.attach())
            for at in range(0, 200, 50):
                follower.records(records[at : at + 50])
                self.assertEqual(parsed.call_count, at + 50)
            tail = follower._tail
            assert tail is not None
            self.assertLessEqual(sum(map(weight, tail._messages)), RECENT_BYTES)
            follower.caught_up(199)
            self.assertEqual(parsed.call_count, 200)
        self.assertEqual(attached, [None])
        kept = follower.recent.after(follower.recent.floor, 0, 1000)
        assert kept is not None
        self.assertEqual([m.id for m in kept], [f"m{n}" for n in range(200 - len(kept), 200)])
        self.assertGreater(len(kept), 10)
        self.assertEqual(follower.recent.floor, 199 - len(kept))


def _never() -> Deferred[Any]:
    return Deferred()
