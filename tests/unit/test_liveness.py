"""A following that RabbitMQ lost sight of is found within 30 s, however many there are, and the
questions asked for that are few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import Stream, Unavailable
from chatd.brokers.rabbitmq.following import RabbitMQFollowing
from chatd.brokers.rabbitmq.liveness import CYCLE, FIRST_LOOKS, STEP, Liveness

#: Seconds within which readers must be level again; and the age of a stream's figures, at most.
BOUND, TICK = 30.0, 5.0


@define(eq=False)
class FakeFollowing:
    """A stream with a consumer that may be lost."""

    stream: Stream
    #: The newest offset there is, and the newest delivered.
    newest: int = 100
    seen: int | None = 100
    level: bool = True
    #: Records that retention removed; and the number of records at the last tick.
    removed: int = 0
    counted: int = 101
    refreshed: int = 0

    def append(self, delivered: bool = True) -> None:
        self.newest += 1
        if delivered:
            self.seen = self.newest

    def refresh(self) -> None:
        self.refreshed += 1
        self.seen = self.newest


@define(eq=False)
class FakeBroker:
    clock: Clock
    followings: list[FakeFollowing]
    #: Streams whose number was asked for, and streams that were looked at.
    glances: int = 0
    looks: int = 0
    #: Seconds that a look takes.
    slow: float = 0.0
    away: bool = False
    #: Whether the numbers stand still.
    stuck: bool = False
    _streams: dict[str, FakeFollowing] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.add(self.followings)

    def add(self, followings: list[FakeFollowing]) -> None:
        self._streams = {one.stream.name: one for one in followings}

    def tick(self) -> None:
        for one in [] if self.stuck else self.followings:
            one.counted = one.newest + 1 - one.removed

    def find_newest(self, stream: Stream) -> Deferred[int]:
        self.looks += 1
        newest = self._streams[stream.name].newest
        return deferLater(self.clock, self.slow, lambda: newest) if self.slow else succeed(newest)

    def counts(self, streams: Sequence[Stream]) -> Deferred[list[int | None]]:
        self.glances += len(streams)
        if self.away:
            return fail(Unavailable("RabbitMQ did not answer in time"))
        return succeed([self._streams[one.name].counted for one in streams])


class LivenessTests(TestCase):
    def begin(self, rooms: int, slow: float = 0.0) -> None:
        self.clock = Clock()
        self.rooms = [FakeFollowing(Stream(f"room{n}", "e")) for n in range(rooms)]
        self.broker = FakeBroker(self.clock, self.rooms, slow=slow)
        self.liveness = Liveness(
            self.clock,
            self.broker.find_newest,
            self.broker.counts,
            lambda: cast(list[RabbitMQFollowing], self.rooms),
        )
        self.liveness.start()
        self.addCleanup(self.liveness.stop)
        self.wait(2 * CYCLE)

    def wait(self, seconds: float) -> None:
        for step in range(int(seconds / STEP)):
            if step % (TICK / STEP) == 0:
                self.broker.tick()
            self.clock.advance(STEP)

    def test_one_of_five_thousand(self) -> None:
        self.begin(5000)
        for one in (self.rooms[0], self.rooms[2500], self.rooms[-1]):
            one.append(delivered=False)
            self.wait(BOUND - 1)
            self.assertEqual(one.refreshed, 1)
        self.assertEqual(sum(one.refreshed for one in self.rooms), 3)

    def test_what_is_asked_while_nothing_is_said(self) -> None:
        for rooms in (1, 30, 3000):
            self.begin(rooms)
            for _ in range(rooms // 240):  # one look at each, first
                self.broker.looks = 0
                self.wait(CYCLE)
                self.assertLessEqual(self.broker.looks, CYCLE / STEP * (FIRST_LOOKS + 1))
            self.broker.glances = self.broker.looks = 0
            self.wait(4 * CYCLE)
            self.assertAlmostEqual(self.broker.glances / (4 * rooms), 1, places=1)
            self.assertLessEqual(self.broker.looks, 4 * CYCLE / STEP)

    def test_where_records_come_nothing_more_is_asked(self) -> None:
        """The number of a few seconds ago does not fit what has come since."""
        self.begin(300)
        self.wait(2 * CYCLE)
        self.broker.looks = 0
        for _ in range(int(4 * CYCLE)):
            for one in self.rooms:
                one.append()
            self.wait(1)
        self.assertLessEqual(self.broker.looks, 4 * CYCLE / STEP)
        lost = self.rooms[150]
        for _ in range(int(BOUND - 1)):
            for one in self.rooms:
                one.append(delivered=one is not lost)
            self.wait(1)
        self.assertGreaterEqual(lost.refreshed, 1)
        self.assertEqual({one.refreshed for one in self.rooms if one is not lost}, {0})

    def test_left_behind_before_the_first_glance(self) -> None:
        self.begin(0)
        self.rooms += [FakeFollowing(Stream(f"room{n}", "e")) for n in range(200)]
        self.broker.add(self.rooms)
        for one in self.rooms:
            one.append(delivered=False)
        self.wait(BOUND - 1)
        self.assertEqual({one.refreshed for one in self.rooms}, {1})

    def test_as_many_removed_as_were_missed(self) -> None:
        self.begin(300)
        self.wait(2 * CYCLE)
        one = self.rooms[150]
        one.removed = 50
        self.wait(BOUND)
        self.assertEqual(one.refreshed, 0)
        for _ in range(50):
            one.append(delivered=False)
        self.wait(BOUND - 1)
        self.assertEqual(one.refreshed, 1)

    def test_numbers_that_mislead(self) -> None:
        """They stand still: some rooms are found in time all the same, for each is looked at."""
        self.begin(40)
        self.broker.stuck = True
        for one in self.rooms:
            one.append(delivered=False)
        self.wait(BOUND - 1)
        self.assertEqual({one.refreshed for one in self.rooms}, {1})

    def test_numbers_that_are_not_told(self) -> None:
        self.begin(1000)
        self.broker.away = True
        for one in self.rooms:
            one.append(delivered=False)
        self.wait(BOUND - 1)
        self.assertEqual({one.refreshed for one in self.rooms}, {1})

    def test_signs_of_new_leaders_that_do_not_end(self) -> None:
        """Those who come last are looked at, too."""
        self.begin(300, slow=0.1)
        for one in self.rooms:
            one.append(delivered=False)
        for _ in range(4 * int(BOUND)):
            self.liveness.hurry()
            self.clock.advance(STEP)
        for _ in range(8):
            self.clock.advance(STEP)
        self.assertEqual({one.refreshed for one in self.rooms}, {1})

    def test_rooms_that_are_left(self) -> None:
        self.begin(3)
        self.rooms.pop()
        self.rooms.append(FakeFollowing(Stream("new", "e")))
        self.broker.add(self.rooms)
        self.wait(2 * CYCLE)
        self.rooms[-1].append(delivered=False)
        self.wait(BOUND - 1)
        self.assertEqual(self.rooms[-1].refreshed, 1)
