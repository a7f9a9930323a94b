"""What lay in a node's sockets while its process stood still, and was sent again elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import DIRECTORY, Stream, Unavailable
from chatd.brokers.memory.broker import MemoryBroker
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.messages import WINDOW
from chatd.protocol.publication import Publication
from chatd.rooms import former_ids
from chatd.rooms.follower import TAIL
from chatd.rooms.late_copies import LATE
from chatd.rooms.publisher import PATIENCE
from chatd.rooms.start_position import Now
from tests.support.publishing import publish
from tests.support.world import World


class StoppedBroker(MemoryBroker):
    """Not `exact`. While the process is ``stopped``, nothing comes; then `end` waits in
    ``looking``. While ``slow``, nothing that is appended is stored, and no sender has several under
    way."""

    exact = False
    stopped = slow = False

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.looking: list[Deferred[int]] = []
        self.appended = 0

    def peer(self) -> MemoryBroker:
        return StoppedBroker(self._clock, world=self._world)

    def advance(self, stream: Stream, log: Any, now: Callable[[], int]) -> None:
        if not self.stopped or stream == DIRECTORY:
            super().advance(stream, log, now)

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        self.appended += 1
        return Deferred() if self.slow else super().append(stream, body, message_id, time)

    def lane(self, stream: Stream, more: bool) -> object:
        return None if self.slow else self

    def end(self, stream: Stream) -> Deferred[int]:
        if not self.stopped:
            return super().end(stream)
        self.looking.append(Deferred())
        return self.looking[-1]


class AfterStandstillTests(SynchronousTestCase):
    """The second node's process was stopped. Ann wrote to it, and then to the first."""

    def setUp(self) -> None:
        self.world = World(nodes=2, broker=StoppedBroker)
        self.site = self.world.sites[1]
        broker = self.site.broker
        assert isinstance(broker, StoppedBroker)
        self.broker, self.stood = broker, 0
        self.site.directory.sync.standstills = lambda: self.stood
        self.site.directory.sync.proved = lambda: True
        self.site.rooms.node.former_ids.standstills = lambda: self.stood
        self.session, reader = self.world.session("ann", node=1)
        self.world.do(self.session.join("lobby", reader, Now()))
        self.listener = self.world.join("lobby", "bob")

    def stop(self) -> None:
        """Stand still, and go on."""
        self.broker.stopped = True
        self.stood += 1

    def elsewhere(self, *ids: str, more: int = WINDOW + 10) -> None:
        """What is said at the other node meanwhile."""
        for id in ids:
            self.world.say("lobby", f"text of {id}", id=id)
        self.fill("other", more)

    def fill(self, what: str, number: int = WINDOW + 10) -> None:
        self.world.store("lobby", *(f"{what}-{n}" for n in range(number)))

    def say(self, id: str | None) -> list[Any]:
        """Write to the second node; the outcome."""
        sent = Publication.parse("lobby", "ann", f"text of {id}", None, id, max_text=100)
        outcome = self.world.begin(self.session.publish(sent))
        self.world.turn()
        return outcome

    def read(self) -> None:
        """All comes that there is, and who has asked is told."""
        self.broker.stopped = False
        self.broker._world.wake(self.world.stream())
        self.world.turn()
        looking, self.broker.looking = self.broker.looking, []
        for one in looking:
            one.callback(0)
        for _ in range(3):
            self.world.turn()

    def shown(self) -> list[str]:
        """What listeners were shown of ann's, in its order."""
        self.world.turn()
        return [f["id"] for f in self.listener.frames if f.get("user") == "ann"]

    def new(self, outcomes: list[list[Any]]) -> list[bool]:
        return [outcome[0].new for outcome in outcomes]

    def test_first_copies_of_what_was_sent_again_elsewhere(self) -> None:
        self.stop()
        self.elsewhere("1", "3")
        said = [self.say(id) for id in ("1", "2", "3", "4")]
        self.assertEqual((said, self.broker.appended), ([[]] * 4, 0))
        self.assertEqual(len(self.broker.looking), 1, "all wait for one look")
        self.read()
        self.assertEqual(self.new(said), [False, True, False, True])
        self.assertEqual(self.shown(), ["1", "3", "2", "4"])

    def test_what_was_sent_again_is_known_for_a_while(self) -> None:
        self.world.say("lobby", "just before", id="0", node=1)
        self.stop()
        self.elsewhere("1")
        self.say("2")
        self.read()
        self.fill("more")
        self.world.advance(LATE - 1)
        self.assertEqual(self.new([self.say("0"), self.say("1")]), [False, False])
        self.assertEqual(self.broker.appended, 2, "and that costs nothing any more")
        self.world.advance(1)
        self.assertEqual(self.new([self.say("1")]), [True], "an id that is not known any more")
        self.assertEqual(self.site.rooms.node.former_ids._number, 0)

    def test_records_that_come_before_anybody_has_read_the_clock(self) -> None:
        """Which is how it is noticed that the process stood still."""
        node, stream = self.site.rooms.node, self.world.stream()
        seconds, self.broker.stopped = node.clock.seconds, True
        self.elsewhere("1")
        batch = self.world.do(self.broker.read(stream, 0, 2 * WINDOW))

        def read() -> float:
            self.stood = 1
            return seconds()

        self.patch(node.clock, "seconds", read)
        self.site.rooms._rooms[stream]._follower.records(batch)
        self.assertEqual(node.former_ids._number, len(batch) - WINDOW)

    def test_all_transports(self) -> None:
        """Those without a session."""
        self.stop()
        self.elsewhere("1")
        receipt = self.world.begin(publish(self.site.chat, "ann", "lobby", "text", "1"))
        self.read()
        self.assertEqual(self.new([receipt]), [False])

    def test_a_room_that_nobody_was_in_here(self) -> None:
        self.world.do(self.world.sites[0].directory.create("attic"))
        self.world.say("attic", "text", id="1")
        self.world.store("attic", *(f"other-{n}" for n in range(TAIL - 1)))
        self.stood += 1
        self.assertFalse(self.world.say("attic", "text", id="1", node=1))

    def test_another_standstill_meanwhile(self) -> None:
        self.stop()
        self.elsewhere("1")
        said = [self.say(id) for id in ("1", None, "2")]
        self.stop()
        self.elsewhere("2")
        looking, self.broker.looking = self.broker.looking, []
        looking[0].callback(0)
        self.world.turn()
        self.assertEqual(len(self.broker.looking), 1)
        said.append(self.say("3"))
        self.assertEqual((said, self.broker.appended), ([[]] * 4, 0))
        self.read()
        self.assertEqual(self.new(said), [False, True, False, True])
        self.assertEqual(self.shown()[-1], "3")

    def test_it_cannot_be_told_what_there_is(self) -> None:
        self.stop()
        said = [self.say("1"), self.say(None)]
        self.broker.looking.pop().errback(Unavailable("away"))
        self.world.turn()
        error = said[0][0].value
        assert isinstance(error, ChatError)
        self.assertEqual((error.code, error.stored), (Code.UNAVAILABLE, False))
        self.read()
        self.assertTrue(said[1][0].new, "nobody can have sent it again")

    def test_it_stands_still_again_and_again(self) -> None:
        self.stop()
        said = self.say("1")
        for _ in range(2):
            self.stop()
            self.world.advance(PATIENCE / 2)
            self.assertEqual(said, [])
            self.broker.looking.pop().callback(0)
            self.world.turn()
        self.assertEqual((said[0].value.stored, self.broker.appended), (False, 0))

    def test_the_room_begins_anew_meanwhile(self) -> None:
        self.stop()
        said = self.say("1")
        self.world.do(self.world.sites[0].directory.renew(self.world.stream()))
        self.read()
        self.assertEqual(said[0].value.code, Code.UNAVAILABLE)
        self.assertEqual(self.broker.appended, 0)

    def test_what_stood_in_line(self) -> None:
        """Behind a message of the same connection that was not stored yet."""
        self.broker.slow = True
        said = [self.say(id) for id in ("1", "2", "3")]
        self.assertEqual(self.broker.appended, 1)
        self.stop()
        self.broker.slow = False
        self.elsewhere("1", "2")
        self.read()
        self.stop()
        self.read()
        self.assertEqual(self.new(said), [True, False, True])
        self.assertEqual(self.shown(), ["1", "2", "3"])

    def test_so_many_at_most(self) -> None:
        self.patch(former_ids, "KEYS", 15)
        self.stop()
        self.elsewhere("1", more=0)
        self.fill("other", WINDOW + 5)
        self.fill("more", 20)
        said = self.say("1")
        self.read()
        self.assertEqual(self.new([said]), [False])
        former = self.site.rooms.node.former_ids
        self.assertEqual(former._number, 15)
        self.world.do(self.world.sites[0].directory.delete("lobby"))
        self.world.turn()
        self.assertEqual(former._number, 0)
