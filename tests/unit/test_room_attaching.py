"""A room that begins to be read from its stream, and that is let go."""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import Record
from chatd.protocol.messages import Content
from chatd.rooms import history
from chatd.rooms.cache import RECENT_BYTES, weight
from chatd.rooms.follower import RoomFollower, RoomState
from chatd.rooms.records import OwnRecords, message_of
from chatd.rooms.registry import SWEEP
from chatd.rooms.room import IDLE
from chatd.rooms.start_position import Last
from tests.support.rooms import RoomCase, never
from tests.support.world import World


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
        session, reader = self.world.session("bob")
        reading = never()
        self.patch(history, "PATIENCE", 2 * IDLE + 2 * SWEEP)
        with mock.patch.object(self.world.broker, "read", return_value=reading):
            joining = self.world.begin(session.join("lobby", reader, self.after(5)))
            self.world.advance(IDLE + 2 * SWEEP)
        reading.callback([])
        self.world.turn()
        self.assertEqual(len(joining), 1)
        self.assertTrue(self.world.sites[0].rooms._rooms)
