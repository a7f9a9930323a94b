"""One room on one node: publishing each id once, and all readers seeing the same."""

from __future__ import annotations

from unittest import mock

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from chatd.brokers.interfaces import NotStored, Record, Unavailable
from chatd.protocol.errors import Code
from chatd.protocol.messages import WINDOW, Content
from chatd.rooms.follower import TAIL
from chatd.rooms.publisher import PATIENCE
from chatd.rooms.start_position import After, Last
from tests.support.publishing import publish
from tests.support.rooms import RoomCase
from tests.support.world import LINES, Reader


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

    def test_a_burst_longer_than_ids_are_remembered(self) -> None:
        """Every message is acknowledged as soon as it is stored: no time passes."""
        chat, number = self.world.sites[0].chat, WINDOW + 100
        sent = [
            self.world.begin(publish(chat, "ann", "lobby", str(n), id=str(n)))
            for n in range(number)
        ]
        self.world.turn()
        self.assertEqual([receipt.id for [receipt] in sent], [str(n) for n in range(number)])

    def test_stored_in_the_order_of_the_calls_whatever_must_be_waited_for(self) -> None:
        self.make(nodes=2)
        chat = self.world.sites[1].chat
        opening: list[Deferred[None]] = []

        def opened(stream: object) -> Deferred[None]:
            opening.append(Deferred())
            return opening[-1]

        with mock.patch.object(self.world.sites[1].broker, "open", opened):
            sent = [self.world.begin(publish(chat, "ann", "lobby", f"m{n}")) for n in range(5)]
            self.world.turn()
        self.assertTrue(opening)
        self.assertEqual(sent, [[]] * 5)
        for one in reversed(opening):
            one.callback(None)
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
            session, reader = self.world.session("bob", node=0)
            joining = self.world.begin(session.join("lobby", reader, After(bob.cursor)))
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
