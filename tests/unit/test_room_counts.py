"""What a room counts, the pages it gives, and what a publish that fails means to it."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import NoSuchStream, NotStored, Unavailable
from chatd.protocol.messages import Content
from chatd.rooms.history import HistoryPage
from tests.support.world import World


class CountsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.room = self.world.room()

    def figure(self, name: str) -> float:
        value = self.world.sites[0].metrics.registry.get_sample_value(f"chatd_{name}")
        assert value is not None, name
        return value

    def figures(self, *names: str) -> list[float]:
        return [self.figure(name) for name in names]


class DeliveredTests(CountsCase):
    COUNTERS = "messages_delivered_total", "delivered_bytes_total"
    SECONDS = "delivery_latency_seconds_count", "delivery_latency_seconds_sum"

    def test_what_went_out_to_how_many(self) -> None:
        readers = [self.world.join("lobby", f"r{n}") for n in range(3)]
        readers[0].stall()
        self.world.store("lobby", "one", "two")
        newest = self.room.recent.newest
        assert newest is not None
        self.assertEqual(self.figures(*self.COUNTERS), [4, 4 * len(newest.json)])
        readers[0].read_on()  # what is read later is not counted
        self.assertEqual(self.figure("messages_delivered_total"), 4)

    def test_how_long_after_it_was_said(self) -> None:
        self.world.join("lobby", "bob")
        self.world.store("lobby", "late", time=self.world.now - 3000)
        self.assertEqual(self.figures(*self.SECONDS), [1, 3])
        self.world.store("lobby", "ahead", time=self.world.now + 2000)
        self.assertEqual(self.figures(*self.SECONDS), [2, 3])
        self.world.foreign("lobby", b'{"id":"k","user":"ann","text":"without a time"}')
        self.assertEqual(self.figures(*self.SECONDS), [2, 3])
        self.assertEqual(self.figure("messages_delivered_total"), 3)


class BehindTests(CountsCase):
    def test_who_is_not_at_the_head(self) -> None:
        readers = [self.world.join("lobby", f"r{n}") for n in range(3)]
        self.assertEqual((self.room.lagging, list(self.room.behind())), (0, []))
        readers[1].stall()
        self.world.store("lobby", "one")
        self.assertEqual(self.room.lagging, 1)
        self.assertEqual(list(self.room.behind()), [readers[1].subscription])
        self.assertEqual([reader.subscription.behind for reader in readers], [0, 1, 0])


class PublishedTests(CountsCase):
    COUNTERS = "messages_published_total", "published_bytes_total"
    SECONDS = "publish_duration_seconds_count", "publish_duration_seconds_sum"

    def test_once_for_each_that_is_new(self) -> None:
        self.world.say("lobby", "hello", id="k")
        self.world.say("lobby", "hello", id="k")
        self.assertEqual(self.figures(*self.COUNTERS), [1, 5])
        self.world.say("lobby", "you")
        self.assertEqual(self.figures(*self.COUNTERS), [2, 8])

    def test_how_long_it_took(self) -> None:
        with mock.patch.object(self.room._follower, "records") as records:
            waiting = self.world.begin(self.room.publish(Content("ann", "k", "hello")))
            self.world.advance(2)
        self.room._follower.records(records.call_args.args[0])
        self.assertEqual(waiting, [True])
        self.assertEqual(self.figures(*self.SECONDS), [1, 2])


class FailedTests(CountsCase):
    def publish(self, error: Exception) -> None:
        """A publish that the broker fails with ``error``."""
        with mock.patch.object(self.world.broker, "append", return_value=fail(error)):
            outcome = self.world.begin(self.room.publish(Content("ann", "k", "hello", fresh=True)))
        outcome[0].trap(type(error))
        self.world.advance(1)

    def test_only_one_without_a_stream_begins_a_new_life(self) -> None:
        before = self.world.stream()
        self.publish(NotStored("away"))
        self.assertEqual(self.world.stream(), before)
        self.publish(NoSuchStream("gone"))
        self.assertNotEqual(self.world.stream(), before)

    def test_not_before_the_room_is_attached(self) -> None:
        self.room.detach()
        outcome = self.world.begin(self.room.publish(Content("ann", "k", "hello")))
        outcome[0].trap(NotStored)


class PageTests(CountsCase):
    def test_from_memory_while_it_is_there(self) -> None:
        self.world.store("lobby", "one", "two", "three")
        page = self.world.do(self.room.page(0, 1))
        self.assertEqual(([m.text for m in page.messages], page.end, page.gap), (["two"], 1, False))
        self.assertEqual(self.figure("catch_up_reads_total"), 0)
        self.room.recent.forget()
        page = self.world.do(self.room.page(0, 1))
        self.assertEqual(([m.text for m in page.messages], page.end, page.gap), (["two"], 1, False))
        self.assertEqual(self.figure("catch_up_reads_total"), 1)

    def test_at_the_head_and_beyond_it(self) -> None:
        self.world.store("lobby", "one", "two", "three")
        self.room.recent.forget()
        for offset in (2, 3, 9):
            page = self.world.do(self.room.page(offset))
            self.assertEqual(page, HistoryPage((), offset, gap=False))
        self.assertEqual(self.figure("catch_up_reads_total"), 0)

    def test_of_records_that_are_no_messages(self) -> None:
        self.world.store("lobby", "one")
        self.world.foreign("lobby", b"junk", b"junk")
        self.assertEqual(self.world.do(self.room.page(0)), HistoryPage([], 2, gap=False))

    def test_of_a_stream_that_has_vanished(self) -> None:
        self.world.store("lobby", "one")
        self.room.recent.forget()
        gone: Deferred[Any] = fail(NoSuchStream("gone"))
        with mock.patch.object(self.world.broker, "read", return_value=gone):
            page = self.world.begin(self.room.page(-1))
            self.world.turn()
        page[0].trap(Unavailable)


class WokenTests(CountsCase):
    def test_who_polls_learns_of_records_that_are_no_messages(self) -> None:
        """The cursor has moved."""
        waiting = self.world.begin(self.room.waiting.wait())
        self.world.foreign("lobby", b"junk")
        self.assertEqual(waiting, [None])
