"""What another node has just changed is known before anybody is refused for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.identity import Identity
from chatd.brokers.interfaces import DIRECTORY, Stream, Unavailable
from chatd.brokers.memory.broker import MemoryBroker
from chatd.directory.sync import APART, BURST, LOOK, PATIENCE
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.publication import Publication
from chatd.rooms.start_position import After, Now
from chatd.service.administration import Administration
from tests.support.publishing import publish
from tests.support.world import World


class LateBroker(MemoryBroker):
    """Not `exact`. While it is ``late``, what others put into the directory does not come; it does
    when ``syncing`` is fired, which is what `sync` returns."""

    exact = False
    late = False

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.syncing: list[Deferred[None]] = []

    def peer(self) -> MemoryBroker:
        return LateBroker(self._clock, world=self._world)

    def advance(self, stream: Stream, log: Any, now: Callable[[], int]) -> None:
        if not (self.late and stream == DIRECTORY):
            super().advance(stream, log, now)

    def sync(self, stream: Stream) -> Deferred[None]:
        assert stream == DIRECTORY
        self.syncing.append(Deferred())
        return self.syncing[-1]

    def arrive(self) -> None:
        """What there is comes, in the next turn of the reactor."""
        self.late = False
        self._world.wake(DIRECTORY)

    def tell(self) -> None:
        """Who asked for it is told that it has come."""
        for syncing in list(self.syncing):
            if not syncing.called:
                syncing.callback(None)


def publication(room: str, text: str) -> Publication:
    """What ann says."""
    return Publication.parse(room, "ann", text, max_text=100)


class SyncCase(SynchronousTestCase):
    """Of two nodes, the second is late."""

    def setUp(self) -> None:
        self.world = World(nodes=2, broker=LateBroker)
        one, other = self.world.sites
        self.one, self.other, self.chat = one.directory, other.directory, other.chat
        self.proved = True
        self.other.sync.proved = lambda: self.proved
        self.world.do(self.one.create("den", private=True))
        assert isinstance(other.broker, LateBroker)
        self.late = other.broker
        self.late.late = True
        self.ann = Identity("ann")
        #: Whose rooms were counted.
        self.counted: list[str] = []
        self.administration = Administration(self.other, 100, self.counted.append)

    def ask(self, work: Any) -> list[Any]:
        """Begin ``work``, which has no outcome yet."""
        outcome = self.world.begin(work)
        self.world.turn()
        self.assertEqual(outcome, [])
        return outcome

    def come(self) -> None:
        self.late.arrive()
        self.world.turn()
        self.late.tell()
        for _ in range(3):
            self.world.turn()

    def code(self, outcome: list[Any]) -> Code:
        error = outcome[0].value
        assert isinstance(error, ChatError), error
        return error.code


class AnswerTests(SyncCase):
    def test_a_room_that_another_node_has_just_made(self) -> None:
        self.world.do(self.one.create("new"))
        session, reader = self.world.session("ann", node=1)
        asked = [
            self.ask(session.join("new", reader, Now())),
            self.ask(publish(self.chat, "ben", "new", "hello")),
            self.ask(self.chat.poll(self.ann, "new", Now(), 10, 0)),
            self.ask(self.other.look_up("new")),
            self.ask(self.other.add_member("new", "ann")),
            self.ask(self.other.set_private("new", True)),
        ]
        self.come()
        self.come()
        for outcome in asked:
            self.assertFalse(hasattr(outcome[0], "value"), outcome)

    def test_a_room_that_there_is_not(self) -> None:
        asked = [
            self.ask(publish(self.chat, "ben", "nowhere", "hello")),
            self.ask(self.chat.poll(self.ann, "nowhere", Now(), 10, 0)),
            self.ask(self.other.remove_member("nowhere", "ann")),
        ]
        self.come()
        self.come()
        self.assertEqual([self.code(one) for one in asked], [Code.UNKNOWN_ROOM] * 3)

    def test_a_room_that_another_node_made_is_deleted(self) -> None:
        """It was: that there is none, so that it is gone, was found out by who did not look."""
        self.world.do(self.one.create("new"))
        deleting = self.ask(self.other.delete("new"))
        self.come()
        self.assertEqual(deleting, [True])
        self.assertIsNone(self.one.find("new"))

    def test_a_member_that_another_node_has_just_added(self) -> None:
        self.world.do(self.one.add_member("den", "ann"))
        asked = self.ask(self.chat.poll(self.ann, "den", Now(), 10, 0))
        removed = self.ask(self.other.remove_member("den", "ann"))
        self.come()
        self.come()
        self.assertEqual(asked[0].messages, ())
        self.assertEqual(removed, [None])
        self.assertEqual(self.one.get("den").members, set())

    def test_a_change_that_another_node_has_just_undone(self) -> None:
        self.late.late = False
        self.world.do(self.one.add_member("den", "ann"))
        self.late.late = True
        self.world.do(self.one.remove_member("den", "ann"))
        self.world.do(self.one.set_private("den", False))
        adding = self.ask(self.other.add_member("den", "ann"))
        closing = self.ask(self.other.set_private("den", True))
        self.come()
        self.come()
        self.assertEqual(adding + closing, [None, None])
        self.assertEqual(
            (self.one.get("den").members, self.one.get("den").private), ({"ann"}, True)
        )

    def test_a_room_that_another_node_has_just_deleted(self) -> None:
        """Who makes it again was told that it exists, and then it did not."""
        self.world.do(self.other.ensure(self.other.get("den")))
        self.world.do(self.one.delete("den"))
        made = self.ask(self.administration.create("den", False, ""))
        put = self.ask(self.administration.put("den", False, ""))
        self.come()
        self.come()
        self.assertIn(True, made + put)
        self.assertFalse(self.one.get("den").private)
        self.assertEqual(self.counted, [""])

    def test_a_room_that_exists(self) -> None:
        made = self.ask(self.administration.create("den", False, ""))
        self.come()
        self.assertEqual((made, self.counted), ([False], []))

    def test_what_is_known_is_not_asked_for(self) -> None:
        self.world.join("lobby", "ann", node=1)
        self.world.say("lobby", "hello", node=1)
        self.world.do(self.chat.poll(self.ann, "lobby", Now(), 10, 0))
        self.assertEqual(self.late.syncing, [])

    def test_what_one_says_stays_in_order(self) -> None:
        """Though the room becomes known in between."""
        self.world.do(self.one.create("new"))
        session, _ = self.world.session("ann", node=1)

        def say(text: str) -> list[Any]:
            return self.world.begin(session.publish(publication("new", text)))

        said = [say("1")]
        self.world.turn()
        self.late.arrive()
        self.world.turn()
        said += [say("2"), say("3")]
        self.come()
        self.assertTrue(all(one and one[0].new for one in said), said)
        reader = self.world.join("new", "ben", node=0)
        self.world.say("new", "4")
        texts = [m.text for m in self.world.room("new").recent.after(-1, 0, 10, 10_000) or ()]
        self.assertEqual(texts, ["1", "2", "3", "4"])
        self.assertEqual(reader.texts, ["4"])


class TroubleTests(SyncCase):
    """Where it cannot be known, that is said: a client that is told of no room gives up."""

    def refused(self, outcome: list[Any]) -> None:
        self.assertIs(self.code(outcome), Code.UNAVAILABLE)

    def test_the_broker_is_away(self) -> None:
        self.late.interrupt()
        asked = self.world.begin(publish(self.chat, "ben", "nowhere", "hello"))
        self.world.turn()
        self.refused(asked)
        self.assertIs(asked[0].value.stored, False)
        for work in (
            self.chat.poll(self.ann, "nowhere", Now(), 10, 0),
            self.chat.poll(self.ann, "den", Now(), 10, 0),
            self.other.look_up("nowhere"),
            self.administration.create("den", False, ""),
        ):
            self.refused(self.world.begin(work))
        self.assertEqual(self.late.syncing, [])

    def test_the_broker_does_not_say(self) -> None:
        asked = [self.ask(self.other.look_up(name)) for name in ("a", "b")]
        self.late.syncing[0].errback(Unavailable("it lags"))
        for outcome in asked:
            self.refused(outcome)

    def test_the_broker_says_nothing(self) -> None:
        asked = self.ask(self.other.look_up("a"))
        self.world.advance(PATIENCE)
        self.refused(asked)
        self.late.syncing[0].callback(None)

    def test_who_hangs_up_while_it_is_asked_is_not_refused(self) -> None:
        gone = Deferred.fromCoroutine(self.chat.poll(self.ann, "nowhere", Now(), 10, 0))
        asked = self.ask(self.other.look_up("nowhere"))
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.come()
        self.come()
        self.assertIs(self.code(asked), Code.UNKNOWN_ROOM)

    def test_until_the_directory_is_proved(self) -> None:
        """After a connection to another host, which may lag behind."""
        self.proved = False
        asked = self.ask(self.other.look_up("a"))
        self.world.advance(LOOK * 3)
        self.assertEqual(self.late.syncing, [])
        self.proved = True
        self.world.advance(LOOK)
        self.come()
        self.assertIs(self.code(asked), Code.UNKNOWN_ROOM)
        self.proved = False
        asked = self.ask(self.other.look_up("a"))
        self.world.advance(PATIENCE + LOOK)
        self.refused(asked)


class FloodTests(SyncCase):
    def test_one_look_for_all_who_ask_before_it_begins(self) -> None:
        asked = [self.ask(self.other.look_up(f"no{n}")) for n in range(1000)]
        self.assertEqual(len(self.late.syncing), 1)
        self.come()
        self.assertEqual([len(one) for one in asked], [1] + [0] * 999)
        self.come()
        self.assertEqual(len(self.late.syncing), 2)
        self.assertEqual({self.code(one) for one in asked}, {Code.UNKNOWN_ROOM})

    def test_so_many_in_a_second_at_most(self) -> None:
        began = self.world.clock.seconds()
        for _ in range(BURST + 100):
            asked = self.world.begin(self.other.look_up("nowhere"))
            while not asked:
                self.world.clock.advance(APART / 4)
                self.come()
        took = self.world.clock.seconds() - began
        self.assertGreater(took, 99 * APART)
        self.assertEqual(len(self.late.syncing), BURST + 100)

    def test_administrators_are_not_held_up(self) -> None:
        """A script that makes its rooms one after the other, all of which exist."""
        asked = self.world.begin(self.other.look_up("nowhere"))
        for _ in range(BURST + 100):
            asked = self.world.begin(self.administration.create("den", False, ""))
            self.come()
            self.assertEqual(asked, [False])


class StoodStillTests(SyncCase):
    """The second node's process was stopped; what it knows is old until it has asked."""

    def setUp(self) -> None:
        super().setUp()
        self.stood = 0
        self.other.sync.standstills = lambda: self.stood
        self.late.late = False
        for room in ("gone", "closed"):
            self.world.do(self.one.create(room))
        self.world.do(self.one.add_member("den", "ann"))
        self.session, self.reader = self.world.session("ann", node=1)
        self.world.do(self.session.join("den", self.reader, Now()))
        self.late.late = True
        self.stood += 1

    def change(self) -> None:
        """The other node takes away what there was."""
        self.world.do(self.one.remove_member("den", "ann"))
        self.world.do(self.one.delete("gone"))
        self.world.do(self.one.set_private("closed", True))

    def say(self, room: str, text: str) -> list[Any]:
        return self.ask(self.session.publish(publication(room, text)))

    def code_of(self, outcome: list[Any]) -> Code | None:
        failed = outcome and hasattr(outcome[0], "value")
        return self.code(outcome) if failed else None

    def test_what_was_taken_away_meanwhile(self) -> None:
        self.change()
        session, reader = self.world.session("ann", node=1)
        asked = [
            self.say("den", "hello"),
            self.ask(publish(self.chat, "ann", "den", "hello")),
            self.ask(session.join("den", reader, Now())),
            self.ask(self.chat.poll(self.ann, "den", Now(), 10, 0)),
            self.ask(publish(self.chat, "ann", "closed", "hello")),
            self.ask(publish(self.chat, "ann", "gone", "hello")),
            self.ask(self.other.add_member("gone", "ann")),
        ]
        for _ in range(4):
            self.come()
        codes = [self.code_of(one) for one in asked]
        self.assertEqual(codes, [Code.FORBIDDEN] * 5 + [Code.UNKNOWN_ROOM] * 2)

    def test_a_room_that_was_deleted_meanwhile_is_made_anew(self) -> None:
        self.change()
        counted: list[str] = []
        administration = Administration(self.other, 100, counted.append)
        making = self.ask(administration.put("gone", None, "127.0.0.1"))
        self.come()
        self.come()
        self.assertEqual((making, counted), ([True], ["127.0.0.1"]))
        self.assertIsNotNone(self.one.find("gone"))

    def test_what_is_still_there(self) -> None:
        """All that is said meanwhile is said in its order, after one look."""
        waiting = self.world.begin(self.chat.poll(self.ann, "closed", Now(), 10, 0))
        said = [self.say("den", text) for text in ("1", "2", "3")]
        self.come()
        said.append(self.world.begin(self.session.publish(publication("den", "4"))))
        self.come()
        self.assertTrue(all(one and one[0].new for one in said), said)
        self.assertEqual(waiting[0].messages, ())
        room = self.chat.rooms.get(self.other.get("den"))
        assert room is not None
        texts = [m.text for m in room.recent.after(-1, 0, 10, 10_000) or ()]
        self.assertEqual(texts, ["1", "2", "3", "4"])
        self.assertEqual(len(self.late.syncing), 1)

    def test_a_poll_that_waits(self) -> None:
        self.stood -= 1
        waiting = self.ask(self.chat.poll(self.ann, "den", After(self.cursor()), 10, 5))
        self.stood += 1
        self.world.clock.advance(5)
        self.come()
        self.come()
        self.assertEqual((list(waiting[0].messages), waiting[0].gap), ([], False))

    def cursor(self) -> Any:
        return self.session.joined["den"].cursor

    def test_a_renewed_token_leaves_no_room_for_it(self) -> None:
        self.session.become(Identity("ann"))
        self.assertIsNone(self.reader.error)

    def test_the_broker_is_away(self) -> None:
        asked = self.ask(publish(self.chat, "ann", "den", "hello"))
        self.world.turn()
        self.late.syncing[-1].errback(Unavailable("it is away"))
        self.world.turn()
        self.assertEqual(self.code(asked), Code.UNAVAILABLE)
        self.assertIs(asked[0].value.stored, False)
        again = self.ask(publish(self.chat, "ann", "den", "hello"))
        self.come()
        self.assertTrue(again[0].new)

    def test_it_stands_still_once_more_while_it_asks(self) -> None:
        asked = self.ask(publish(self.chat, "ann", "den", "hello"))
        self.stood += 1
        self.come()
        self.assertEqual(asked, [])
        self.come()
        self.assertTrue(asked[0].new)
