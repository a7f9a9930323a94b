"""A room whose broker goes away, whose stream vanishes, or that is deleted."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import fail
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from chatd.access.identity import Identity
from chatd.brokers.interfaces import Stream, Unavailable
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, Code
from chatd.rooms.follower import RoomState
from chatd.rooms.publisher import PATIENCE
from chatd.rooms.start_position import After, Last
from chatd.rooms.subscription import SubscriptionState
from tests.support.lying_broker import Lie, LyingBroker
from tests.support.publishing import publish
from tests.support.rooms import RoomCase, never
from tests.support.world import World


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

    def test_a_poll_that_waits_is_told_of_the_gap(self) -> None:
        """At once, and not that the broker is away."""
        self.world.say("lobby", "one")
        chat, old = self.world.sites[0].chat, self.world.stream()
        start = After(Cursor(old.life, 0))
        polling = self.world.begin(chat.poll(Identity("bob"), "lobby", start, 10, 30))
        self.world.turn()
        self.assertEqual(polling, [])
        self.world.do(self.world.broker.delete(old))
        self.world.turn()
        [answer] = polling
        self.assertEqual((answer.messages, answer.gap), ([], True))
        self.assertEqual(answer.cursor, Cursor(self.world.stream().life, -1))

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
        old = self.world.stream()
        waiting = self.say_in_line("one", "two", "three", "four")
        new = self.begin_anew()
        spoken = self.say("kept")
        sent: list[Stream] = []

        def note(stream: Stream, number: int, channel: int) -> Lie:
            sent.append(stream)
            return Lie.NONE

        self.broker.lie = note
        self.world.advance(PATIENCE)
        self.assertNotIn(old, sent)
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
        session, reader = self.world.session("bob")
        with mock.patch.object(self.world.broker, "follow"):
            joining = self.world.begin(session.join("lobby", reader, self.after(-1)))
            self.world.turn()
            self.assertEqual(joining, [])
            self.world.do(self.world.sites[0].directory.delete("lobby"))
        self.assertIsInstance(joining[0], Failure)
        self.assertIs(joining[0].value.code, Code.UNKNOWN_ROOM)

    def test_deleted_and_made_again_while_a_place_is_sought(self) -> None:
        self.world.store("lobby", *(f"m{n}" for n in range(2000)))
        old = self.world.room()
        session, reader = self.world.session("bob")
        with mock.patch.object(self.world.broker, "read", return_value=(reading := never())):
            joining = self.world.begin(session.join("lobby", reader, self.after(5)))
            self.world.turn()
            self.assertEqual(joining, [])
            self.world.do(self.world.sites[0].directory.delete("lobby"))
            self.world.do(self.world.sites[0].directory.create("lobby"))
        reading.errback(Unavailable("gone"))
        self.world.turn()
        self.assertIs(joining[0].value.code, Code.UNAVAILABLE)
        self.assertFalse(old.subscriptions)
