"""`MemoryBroker`: the suite, and what tests of other parts rely on."""

from __future__ import annotations

from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import Record, Retention, Stream, Unavailable
from chatd.brokers.memory.broker import MemoryBroker
from tests.contract import broker_suite
from tests.support.recording import Recorder, body, ids, named


class MemoryBrokerSuite(broker_suite.ExactRetentionSuite):
    __test__ = True
    skip_offsets = 0

    async def make_broker(self, retention: Retention | None = None) -> MemoryBroker:
        broker = MemoryBroker(IReactorTime(reactor), retention, skip=self.skip_offsets)
        broker.startService()
        self.addCleanup(broker.stopService)
        return broker

    async def interrupt(self, broker: MemoryBroker) -> None:
        broker.interrupt()

    async def resume(self, broker: MemoryBroker) -> None:
        broker.resume()

    async def elsewhere(self, broker: MemoryBroker) -> MemoryBroker:
        other = broker.peer()
        other.startService()
        return other

    async def leave(self, other: MemoryBroker) -> None:
        other.stopService()

    async def truncate(self, other: MemoryBroker, stream: Stream, before: int) -> None:
        other.truncate(stream, before)

    async def sweep(self, broker: MemoryBroker) -> None:
        """It is done at the end of each turn."""


class SkippingMemoryBrokerSuite(MemoryBrokerSuite):
    """The same with offsets that skip, as RabbitMQ's do."""

    skip_offsets = 3


class MemoryBrokerTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = MemoryBroker(self.clock)
        self.broker.startService()
        self.stream = Stream("lobby", "e1")
        self.broker.create(self.stream)
        self.clock.advance(0)

    def append(self, id: str, broker: MemoryBroker | None = None) -> Deferred[None]:
        return (broker or self.broker).append(self.stream, body(id), id, 0)

    def follow(self, broker: MemoryBroker | None = None) -> Recorder:
        recorder = Recorder()
        recorder.following = (broker or self.broker).follow(self.stream, None, recorder)
        recorder.may_call = True
        return recorder

    def test_one_turn_is_one_batch(self) -> None:
        follower = self.follow()
        appended = [self.append(id) for id in named(0, 1, 2)]
        self.assertEqual(follower.calls, [])
        self.clock.advance(0)
        self.assertEqual(follower.calls, ["records", "caught_up"])
        for done in appended:
            self.assertIsNone(self.successResultOf(done))
        for id in named(3, 4):
            self.append(id)
        self.clock.advance(0)
        self.assertEqual(follower.calls, ["records", "caught_up", "records"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_followers_have_a_record_before_it_is_acknowledged(self) -> None:
        follower = self.follow()
        seen: list[list[str]] = []
        self.append("m0").addCallback(lambda _: seen.append(follower.ids))
        self.clock.advance(0)
        self.assertEqual(seen, [["m0"]])

    def test_interrupt_refuses_what_waits(self) -> None:
        waits = self.append("m0")
        self.broker.interrupt()
        self.failureResultOf(waits, Unavailable)
        self.failureResultOf(self.append("m1"), Unavailable)
        self.broker.resume()
        read = self.broker.read(self.stream, 0, 10)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(cast("Deferred[list[Record]]", read)), [])

    def test_interrupt_with_what_waits_stored_but_not_acknowledged(self) -> None:
        follower = self.follow()
        self.clock.advance(0)
        waits = self.append("m0")
        self.broker.interrupt(stored=True)
        self.failureResultOf(waits, Unavailable)
        self.broker.resume()
        self.clock.advance(0)
        self.assertEqual(follower.calls, ["caught_up", "interrupted", "records", "caught_up"])
        self.assertEqual(follower.ids, ["m0"])

    def test_interrupt_while_a_follower_reads_anew(self) -> None:
        follower = self.follow()
        self.clock.advance(0)
        assert follower.following is not None
        follower.following.refresh()
        self.assertEqual(follower.calls, ["caught_up", "interrupted"])
        self.broker.interrupt()
        self.broker.interrupt()
        self.clock.advance(0)
        self.assertEqual(follower.calls, ["caught_up", "interrupted", "interrupted"])
        self.broker.resume()
        self.clock.advance(0)
        self.assertEqual(follower.calls[3:], ["caught_up"])

    def test_peers_share_streams_and_are_interrupted_one_by_one(self) -> None:
        peer = self.broker.peer()
        peer.startService()
        here, there = self.follow(), self.follow(peer)
        self.append("m0")
        self.clock.advance(0)
        self.broker.interrupt()
        self.append("m1", peer)
        self.clock.advance(0)
        self.assertEqual((here.ids, there.ids), (named(0), named(0, 1)))
        self.broker.resume()
        self.clock.advance(0)
        self.assertEqual(here.ids, named(0, 1))
        self.assertEqual(there.calls, ["records", "caught_up", "records"])

    def test_broadcasts_reach_peers(self) -> None:
        peer = self.broker.peer()
        peer.startService()
        heard: list[tuple[str, bytes]] = []
        self.broker.listen(lambda payload: heard.append(("here", payload)))
        peer.listen(lambda payload: heard.append(("there", payload)))
        self.broker.broadcast(b"x")
        self.assertEqual(heard, [])
        self.clock.advance(0)
        self.assertEqual(sorted(heard), [("here", b"x"), ("there", b"x")])

    def test_store_reaches_followers_as_another_program_s_record(self) -> None:
        follower = self.follow()
        self.clock.advance(0)
        self.broker.store(self.stream, body("m0"), 0)
        self.clock.advance(0)
        self.assertEqual(follower.ids, ["m0"])

    def test_offsets_skip_when_asked(self) -> None:
        self.broker = MemoryBroker(self.clock, skip=2)
        self.broker.startService()
        self.broker.create(self.stream)
        for id in named(0, 1, 2, 3, 4):
            self.append(id)
        read = self.broker.read(self.stream, 0, 10)
        end = self.broker.end(self.stream)
        self.clock.advance(0)
        records = self.successResultOf(cast("Deferred[list[Record]]", read))
        self.assertEqual([r.offset for r in records], [0, 1, 3, 4, 6])
        self.assertEqual(ids(records), named(0, 1, 2, 3, 4))
        self.assertEqual(self.successResultOf(end), 6)

    def test_announced_events_can_be_looked_at(self) -> None:
        self.broker.announce("joined", "lobby", b"{}")
        self.assertEqual(self.broker.announced, [("joined", "lobby", b"{}")])

    def test_stopping_the_service_answers_what_waits(self) -> None:
        stored = self.append("m0")
        self.broker.stopService()
        self.assertIsNone(self.successResultOf(stored))
        self.failureResultOf(self.append("m1"), Unavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])
