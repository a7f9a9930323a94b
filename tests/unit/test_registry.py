"""The rooms of a node: which are attached and for how long, and what the directory changes."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.identity import Identity
from chatd.brokers.interfaces import DIRECTORY, Stream, Unavailable
from chatd.directory.projection import RoomEntry
from chatd.presence.board import News
from chatd.protocol.errors import ChatError, Code
from chatd.rooms.follower import RoomState
from chatd.rooms.registry import AGAIN, SWEEP
from chatd.rooms.room import IDLE, Room
from chatd.rooms.start_position import Now
from chatd.timing import turn_queue
from tests.support.world import Site, World

#: cid came to where ann was.
CAME = News.of(2, frozenset({"ann"}), frozenset({"ann"}), frozenset({"ann", "cid"}), True)


class RegistryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.site = self.world.sites[0]
        self.rooms = self.site.rooms

    def entry(self, room: str = "lobby") -> RoomEntry:
        return self.site.directory.get(room)

    def create(self, room: str) -> Room:
        self.world.do(self.site.directory.create(room))
        return self.world.room(room)

    def metric(self, name: str) -> float | None:
        return self.site.metrics.registry.get_sample_value(f"chatd_{name}")

    def polling(self, room: Room) -> list[Any]:
        """One who waits for something to happen in ``room``."""
        return self.world.begin(room.waiting.wait())


class AttachedTests(RegistryCase):
    def test_a_room_is_made_at_its_first_use(self) -> None:
        self.assertIsNone(self.rooms.attached(self.entry()))
        self.assertIsNone(self.rooms.get(self.entry()))
        self.assertEqual(list(self.rooms), [])
        room = self.world.room()
        self.assertIs(self.rooms.attached(self.entry()), room)
        self.assertIs(self.rooms.get(self.entry()), room)
        self.assertIs(self.world.room(), room)
        self.assertEqual(list(self.rooms), [room])

    def test_at_hand_is_only_one_that_has_all_there_is(self) -> None:
        room = self.world.room()
        self.world.broker.interrupt()
        self.assertIsNone(self.rooms.get(self.entry()))
        self.assertIs(self.rooms.attached(self.entry()), room)
        self.world.broker.resume()
        self.world.turn()
        self.assertIs(self.rooms.get(self.entry()), room)

    def test_counted(self) -> None:
        self.create("other")
        figures = [self.metric(name) for name in ("rooms", "rooms_attached", "recent_bytes")]
        self.assertEqual(figures, [2, 1, 0])
        self.world.room()
        self.world.store("lobby", "one")
        self.assertEqual(self.metric("rooms_attached"), 2)
        self.assertEqual(self.metric("recent_bytes"), self.site.budget.used)
        self.assertGreater(self.site.budget.used, 0)

    def test_one_that_cannot_be_attached(self) -> None:
        with mock.patch.object(self.world.broker, "follow"):
            error = self.world.error(self.site.chat.room(Identity("somebody"), "lobby"), within=60)
        self.assertIs(error.code, Code.UNAVAILABLE)
        self.assertEqual(error.frame()["room"], "lobby")

    def test_a_node_that_stops_follows_nothing(self) -> None:
        rooms = [self.world.room(), self.create("other")]
        self.rooms.stop()
        self.assertEqual({room.state for room in rooms}, {RoomState.DETACHED})
        self.assertEqual(list(self.rooms), [])
        self.rooms.stop()
        self.site.replication.stop()
        self.site.directory.stop()
        self.world.advance(2 * SWEEP)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_a_node_that_stops_before_it_has_started(self) -> None:
        Site("late", self.world.broker.peer(), self.world.clock, self.world).rooms.stop()


class SweepTests(RegistryCase):
    """Rooms that nobody uses are let go, sooner or later."""

    def kept(self, seconds: float, room: str = "lobby") -> bool:
        """Whether a room is still attached after ``seconds``."""
        self.world.advance(seconds)
        return self.rooms.attached(self.entry(room)) is not None

    def test_for_how_long_one_is_kept(self) -> None:
        self.world.room()
        self.assertTrue(self.kept(IDLE - 1))
        self.assertFalse(self.kept(SWEEP + 1))

    def test_each_use_counts(self) -> None:
        self.world.room()
        for _ in range(5):
            self.assertTrue(self.kept(IDLE - 1))
            self.rooms.get(self.entry())
        self.assertFalse(self.kept(IDLE + SWEEP))

    def test_only_those_that_are_not_used(self) -> None:
        self.create("other")
        bob = self.world.join("lobby", "bob")
        self.assertTrue(self.kept(IDLE + 2 * SWEEP))
        self.assertFalse(self.kept(0, "other"))
        bob.session.close()
        self.assertFalse(self.kept(IDLE + 2 * SWEEP))

    def test_many_are_let_go_in_turns_of_the_reactor(self) -> None:
        self.patch(turn_queue, "A_TURN", 2)
        for n in range(6):
            self.create(f"r{n}")
        left: list[int] = []  # after each one's turn and the next one
        detach = Room.detach

        def detached(room: Room) -> None:
            detach(room)
            self.world.clock.callLater(0, lambda: left.append(len(list(self.rooms))))

        self.patch(Room, "detach", detached)
        self.world.advance(IDLE + 2 * SWEEP)
        self.assertEqual(left, [2, 2, 0, 0, 0, 0])

    def test_who_waits_for_messages_uses_it(self) -> None:
        room = self.world.room()
        waiting = room.waiting.wait()
        self.assertTrue(self.kept(IDLE + 2 * SWEEP))
        waiting.addErrback(lambda _: None).cancel()
        self.assertFalse(self.kept(SWEEP))

    def test_who_reads_a_page_uses_it(self) -> None:
        self.world.store("lobby", "one")
        room = self.world.room()
        room.recent.forget()
        reading: Deferred[Any] = Deferred()
        self.patch(self.site.history, "page", lambda *_: reading)
        page = self.world.begin(room.page(-1))
        self.assertTrue(self.kept(IDLE + 2 * SWEEP))
        reading.callback("the page")
        self.assertEqual(page, ["the page"])
        self.assertFalse(self.kept(SWEEP))


class PassedOnTests(RegistryCase):
    """What is not stored: who came and went, who is typing; and who must look again."""

    def test_to_the_room_that_it_is_about(self) -> None:
        self.create("other")
        ann = self.world.join("lobby", "ann")
        bob = self.world.join("other", "bob")
        self.rooms.show_typing("lobby", "cid")
        self.rooms.show("lobby", CAME)
        typing, presence = ann.frames
        self.assertEqual(typing, {"type": "typing", "room": "lobby", "user": "cid"})
        self.assertEqual((presence["joined"], presence["count"]), (["cid"], 2))
        self.assertEqual(bob.frames, [])

    def test_to_nobody_where_nobody_is(self) -> None:
        for room in ("lobby", "no such room"):
            self.rooms.show_typing(room, "cid")
            self.rooms.show(room, CAME)
        self.assertEqual(list(self.rooms), [])

    def test_all_who_wait_are_woken(self) -> None:
        waiting = [self.polling(self.world.room()), self.polling(self.create("other"))]
        self.rooms.wake()
        self.assertEqual(waiting, [[None], [None]])


class ChangedTests(RegistryCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = (self.world.join("lobby", user) for user in ("ann", "bob"))
        self.room = self.world.room()

    def test_a_room_that_becomes_private_is_left_by_those_who_may_not_stay(self) -> None:
        directory = self.site.directory
        self.world.do(directory.add_member("lobby", "ann"))
        waiting = self.polling(self.room)
        self.world.do(directory.set_private("lobby", True))
        self.assertIsNone(self.ann.error)
        assert self.bob.error is not None
        self.assertIs(self.bob.error.code, Code.FORBIDDEN)
        self.assertEqual(self.bob.error.frame()["room"], "lobby")
        self.assertEqual(waiting, [None], "whoever polls must look again")
        self.world.store("lobby", "one")
        self.assertEqual((self.ann.texts, self.bob.texts), (["one"], []))

    def test_the_many_who_may_not_stay_are_told_in_turns(self) -> None:
        self.patch(turn_queue, "A_TURN", 2)
        directory = self.site.directory
        members = [self.ann, self.bob, *(self.world.join("lobby", f"r{n}") for n in range(6))]
        last, gone = members[-1], members[-2]
        told: list[int] = []
        closed = self.ann.closed

        def first(error: ChatError) -> None:
            """Meanwhile one leaves, and one may stay after all and joins again."""
            closed(error)
            self.assertEqual(len(self.room.subscriptions), 0, "somebody would get messages")
            gone.session.leave("lobby")
            self.world.begin(again())
            self.world.clock.callLater(0, lambda: told.append(sum(map(bool, errors()))))

        async def again() -> None:
            await directory.add_member("lobby", "r5")
            joined = await last.session.join("lobby", last, Now())
            assert joined is not None
            joined.subscription.resume()

        def errors() -> list[ChatError | None]:
            return [reader.error for reader in members]

        self.patch(self.ann, "closed", first)
        self.world.do(directory.set_private("lobby", True))
        self.world.turn()
        self.assertEqual((told, sum(map(bool, errors()))), ([4], 6))
        self.assertEqual(errors()[-2:], [None, None])
        self.world.store("lobby", "one")
        self.assertEqual([reader.texts for reader in members], [[]] * 7 + [["one"]])

    def removed(self, users: list[str]) -> mock.PropertyMock:
        """Members of the lobby, removed in one turn; how often it was looked who somebody is."""
        directory = self.site.directory
        for user in ("ann", "bob", *users):
            self.world.do(directory.add_member("lobby", user))
        looked = mock.PropertyMock(return_value=self.bob.identity)
        with mock.patch.object(type(self.bob), "identity", looked, create=True):
            removing = [self.world.begin(directory.remove_member("lobby", u)) for u in users]
            self.world.turn()
        self.assertEqual(removing, [[None]] * len(users))
        return looked

    def test_members_removed_together_cost_one_look_at_who_is_there(self) -> None:
        self.world.do(self.site.directory.set_private("lobby", True))
        self.ann, self.bob = (self.world.session(user)[1] for user in ("ann", "bob"))
        for reader in (self.ann, self.bob):
            self.room.subscribe(reader, -1)
        with mock.patch.object(self.room.waiting, "wake") as woken:
            looked = self.removed([f"m{n}" for n in range(50)])
        self.assertEqual((looked.call_count, woken.call_count), (2, 1))
        self.assertIsNone(self.bob.error)
        self.world.do(self.site.directory.remove_member("lobby", "bob"))
        assert self.bob.error is not None
        self.assertIs(self.bob.error.code, Code.FORBIDDEN)
        self.assertIsNone(self.ann.error)

    def test_a_member_removed_from_a_public_room_loses_nothing(self) -> None:
        self.assertEqual(self.removed(["carl", "bob"]).call_count, 0)
        self.assertIsNone(self.bob.error)

    def test_a_room_that_is_deleted_is_left_by_all(self) -> None:
        waiting = self.polling(self.room)
        self.world.do(self.site.directory.delete("lobby"))
        for reader in (self.ann, self.bob):
            assert reader.error is not None
            self.assertIs(reader.error.code, Code.UNKNOWN_ROOM)
            self.assertEqual(reader.error.frame()["room"], "lobby")
        self.assertEqual(waiting, [None])
        self.assertIs(self.room.state, RoomState.DETACHED)

    def test_the_many_of_a_room_that_is_deleted_are_told_in_turns(self) -> None:
        self.patch(turn_queue, "A_TURN", 2)
        members = [self.ann, self.bob, *(self.world.join("lobby", f"r{n}") for n in range(18))]
        told: list[int] = []
        closed = self.ann.closed

        def first(error: ChatError) -> None:
            """Meanwhile one leaves, and one joins the room that is made anew."""
            closed(error)
            members[-2].session.leave("lobby")
            self.world.begin(anew())
            self.world.clock.callLater(0, lambda: told.append(sum(map(bool, errors()))))

        async def anew() -> None:
            await self.site.directory.create("lobby")
            joined = await members[-1].session.join("lobby", members[-1], Now())
            assert joined is not None
            joined.subscription.resume()

        def errors() -> list[ChatError | None]:
            return [reader.error for reader in members]

        self.patch(self.ann, "closed", first)
        self.world.do(self.site.directory.delete("lobby"))
        self.world.turn()
        self.assertEqual((told, sum(map(bool, errors()))), ([4], 18))
        self.assertEqual(errors()[-2:], [None, None])
        self.world.store("lobby", "one")
        self.assertEqual([reader.texts for reader in members], [[]] * 19 + [["one"]])

    def test_the_stream_of_a_room_that_was_deleted_is_not_missed(self) -> None:
        """As a publish may find that was under way."""
        self.world.do(self.site.directory.delete("lobby"))
        self.rooms.lost(self.room)
        self.world.advance(AGAIN)
        self.assertIsNone(self.site.directory.find("lobby"))

    def test_other_rooms_are_left_alone(self) -> None:
        self.create("other")
        self.world.do(self.site.directory.set_private("other", True))
        self.world.do(self.site.directory.delete("other"))
        self.world.store("lobby", "one")
        self.assertEqual((self.ann.texts, self.bob.texts), (["one"], ["one"]))
        self.assertEqual(list(self.rooms), [self.room])


class VanishedTests(RegistryCase):
    """The room's stream is gone, and cannot be given another at once."""

    def setUp(self) -> None:
        super().setUp()
        self.bob = self.world.join("lobby", "bob")
        self.room = self.world.room()
        self.old = self.world.stream()
        self.asked = 0
        append = self.world.broker.append
        self.away = True

        def refuse(stream: Stream, body: bytes, *more: Any) -> Deferred[None]:
            if self.away and stream == DIRECTORY:
                self.asked += b'"op":"renew"' in body
                return fail(Unavailable("away"))
            return append(stream, body, *more)

        self.patch(self.world.broker, "append", refuse)
        self.world.do(self.world.broker.delete(self.old))
        self.world.turn()

    def test_tried_again_and_again(self) -> None:
        for tries in (1, 2, 3):
            self.rooms.lost(self.room)  # it is known already
            self.assertEqual((self.asked, self.world.stream()), (tries, self.old))
            self.world.advance(AGAIN)
        self.away = False
        self.world.advance(AGAIN)
        self.assertNotEqual(self.world.stream(), self.old)
        self.assertIs(self.room.state, RoomState.LEVEL)
        self.world.say("lobby", "hello")
        self.assertEqual(self.bob.texts, ["GAP", "hello"])

    def test_tried_again_after_a_fault_of_chatd_s_own(self) -> None:
        """In whichever of the two steps."""
        self.away = False
        for step in ("renew", "ensure"):
            with mock.patch.object(self.site.directory, step, side_effect=ZeroDivisionError):
                self.world.advance(AGAIN)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.world.advance(AGAIN)
        self.assertIs(self.room.state, RoomState.LEVEL)
        self.world.say("lobby", "hello")
        self.assertEqual(self.bob.texts, ["GAP", "hello"])

    def test_not_again_for_a_room_that_nobody_uses_any_more(self) -> None:
        """It is found missing once more by whoever uses it next."""
        self.bob.session.close()
        self.world.advance(IDLE + 2 * SWEEP)
        asked = self.asked
        self.world.advance(10 * AGAIN)
        self.assertEqual(self.asked, asked)
        self.away = False
        self.assertEqual(self.world.stream(), self.old)
        self.world.begin(self.site.chat.room(Identity("bob"), "lobby"))
        self.world.advance(1)
        self.assertNotEqual(self.world.stream(), self.old)

    def test_the_next_one_too(self) -> None:
        """A life that was given up is no longer waited for."""
        self.away = False
        for _ in range(3):
            old = self.world.stream()
            self.world.advance(AGAIN)
            self.world.do(self.world.broker.delete(self.world.stream()))
            self.world.advance(AGAIN)
            self.assertNotEqual(self.world.stream(), old)
        self.assertIs(self.room.state, RoomState.LEVEL)

    def test_a_new_stream_that_is_not_followed_at_once(self) -> None:
        self.away = False
        with mock.patch.object(self.world.broker, "follow"):
            self.world.advance(60)
        self.assertIsNot(self.room.state, RoomState.LEVEL)
        self.room.detach()
        self.world.advance(60)
        self.assertIs(self.room.state, RoomState.LEVEL)
