"""What must not spread: an odd record, a lost stream, an unknown directory, a failing reader."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import DIRECTORY, Stream, Unavailable
from chatd.brokers.memory.broker import MemoryBroker
from chatd.directory.directory import Directory
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.json import dump
from chatd.protocol.messages import Content
from chatd.rooms.follower import RoomState
from chatd.rooms.start_position import Last, since
from chatd.timing.turn_queue import TurnQueue
from tests.support.world import World

#: Valid RFC 3339, but in a year that UTC cannot write with four digits.
BEYOND = ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00")


class OddTimeTests(TestCase):
    def setUp(self) -> None:
        self.world = World()

    def odd(self, time: str) -> bytes:
        return dump({"id": "odd", "user": "ann", "text": "odd", "time": time})

    def test_no_reader_loses_its_neighbours(self) -> None:
        bob = self.world.join("lobby", "bob")
        self.world.store("lobby", "before")
        for time in BEYOND:
            self.world.foreign("lobby", self.odd(time))
        self.world.store("lobby", "after")
        self.assertEqual(bob.texts, ["before", "after"])
        self.world.add_site()
        late = self.world.join("lobby", "late", Last(10), node=1)
        self.assertEqual(late.texts, ["before", "after"])

    def test_nor_does_a_reader_of_the_history(self) -> None:
        bob = self.world.join("lobby", "bob")
        bob.stall()
        self.world.store("lobby", *map(str, range(600)))
        self.world.foreign("lobby", *map(self.odd, BEYOND))
        self.world.store("lobby", *map(str, range(600, 1300)))
        bob.read_on()
        self.world.advance(2)
        self.assertEqual(bob.texts, [str(n) for n in range(1300)])

    def test_a_client_may_ask_from_there(self) -> None:
        self.world.store("lobby", "before")
        texts = [self.world.join("lobby", f"u{n}", since(BEYOND[n])).texts for n in range(2)]
        self.assertEqual(texts, [[], ["before"]])


class LostStreamTests(TestCase):
    def setUp(self) -> None:
        self.world = World()
        self.room = self.world.room()
        self.stream = self.world.stream()

    def test_nothing_is_acknowledged_that_only_a_neighbour_took(self) -> None:
        """RabbitMQ confirms what any queue took, a neighbour's too."""
        append = self.world.broker.append

        def neighbour(stream: Stream, *more: Any) -> Deferred[None]:
            if stream == DIRECTORY:
                return fail(Unavailable())
            return succeed(None) if stream == self.stream else append(stream, *more)

        with mock.patch.object(self.world.broker, "append", neighbour):
            self.world.do(self.world.broker.delete(self.stream))
            self.world.turn()
            self.assertIsNot(self.room.state, RoomState.LEVEL)
            outcome = self.world.begin(self.room.publish(Content("ann", "k", "hello")))
            outcome[0].trap(Unavailable)

    def test_the_directory_is_told_once(self) -> None:
        with mock.patch.object(self.world.broker, "append", wraps=self.world.broker.append) as told:
            for _ in range(100):
                self.world.sites[0].rooms.lost(self.room)
            self.world.advance(1)
        events = [call for call in told.call_args_list if call.args[0] == DIRECTORY]
        self.assertEqual(len(events), 1)


class DirectoryTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = MemoryBroker(self.clock)
        self.broker.startService()
        self.directory = Directory(self.broker, self.clock)
        self.loaded = mock.Mock()
        self.directory.stream.on_loaded = self.loaded

    def test_whether_there_is_a_room_is_not_known_before_it_is_loaded(self) -> None:
        deleting = Deferred.fromCoroutine(self.directory.delete("lobby"))
        self.assertIs(self.failureResultOf(deleting, ChatError).value.code, Code.UNAVAILABLE)

    def test_a_stream_that_begins_again_is_loaded_again(self) -> None:
        self.directory.start()
        self.clock.pump([0, 0, 0])
        self.assertEqual(self.loaded.call_count, 1)
        self.broker.delete(DIRECTORY)
        self.clock.pump([0, 0, 0, 0])
        self.assertEqual(self.loaded.call_count, 2)
        self.assertTrue(self.directory.loaded)


class TurnsTests(TestCase):
    def test_a_reader_that_raises_takes_nobody_with_it(self) -> None:
        clock = Clock()
        turns = TurnQueue(clock, 2)
        calls: list[int] = []
        turns.add(lambda: calls.append(1))
        turns.add(mock.Mock(side_effect=ZeroDivisionError))
        turns.add(lambda: calls.append(2))
        clock.advance(0)
        self.assertEqual(calls, [1, 2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class WarmTests(TestCase):
    def test_what_attaching_brought_is_not_read_again(self) -> None:
        """Also where the first offset is not 0, as on RabbitMQ."""
        world = World()
        world.store("lobby", *map(str, range(51)))
        world.broker.truncate(world.stream(), 1)
        with mock.patch.object(world.broker, "read", wraps=world.broker.read) as read:
            late = world.join("lobby", "late", Last(10))
        self.assertEqual(late.texts, [str(n) for n in range(41, 51)])
        self.assertEqual(read.call_count, 0)

    def test_a_room_used_over_http_only_stays_attached(self) -> None:
        world = World()
        with mock.patch.object(world.broker, "follow", wraps=world.broker.follow) as follow:
            for n in range(100):
                world.say("lobby", str(n))
                world.advance(2)
        self.assertLessEqual(follow.call_count, 1)
