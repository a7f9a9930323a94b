"""Large rooms: groups of subscriptions that are served one in each turn of the reactor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from unittest.mock import patch

from twisted.trial.unittest import TestCase

from chatd.protocol.messages import Content, Message
from chatd.rooms import audience
from chatd.rooms.fanout import LiveSubscriptions
from chatd.rooms.start_position import Now
from chatd.service.session import Session
from tests.support.socketed import Socketed
from tests.support.world import Lines, Reader, World


class GroupsCase(TestCase):
    #: Those who are there; three make a group.
    number = 10

    def setUp(self) -> None:
        self.patch(audience, "GROUP", 3)
        self.world = World(reader=Socketed)
        self.readers = [self.join(f"r{n}") for n in range(self.number)]
        self.said: list[str] = []

    def join(self, user: str) -> Socketed:
        reader = self.world.join("lobby", user)
        assert isinstance(reader, Socketed)
        return reader

    def put(self, count: int = 1, filler: str = "") -> None:
        """Messages come; they go out in the next turns of the reactor."""
        for number in range(len(self.said), len(self.said) + count):
            self.said.append(f"m{number}{filler}")
            body = Content("ann", f"m{number}", self.said[-1]).record(self.world.now)
            self.world.broker.store(self.world.stream(), body, self.world.now)

    def turns(self, *does: Callable[[], object]) -> list[int]:
        """How many have had everything after each of the reactor's turns, until all have. After
        each turn the next one of ``does`` is called."""
        seen: list[int] = []
        left = list(does)

        def look() -> None:
            seen.append(sum(reader.texts == self.said for reader in self.readers))
            if left:
                left.pop(0)()
            if (left or seen[-1] < len(self.readers)) and len(seen) < 50:
                self.world.clock.callLater(0, look)

        self.world.clock.callLater(0, look)
        self.world.turn()
        return seen


class GroupsTests(GroupsCase):
    def test_a_turn_that_fails_is_not_the_last(self) -> None:
        with patch.object(
            LiveSubscriptions, "send", side_effect=[RuntimeError, (), (), ()]
        ) as send:
            self.put()
            self.turns()
            self.assertEqual(send.call_count, 4)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_one_group_in_each_turn(self) -> None:
        self.put()
        self.assertEqual(self.turns(), [3, 6, 9, 10])

    def test_a_small_room_is_served_while_a_large_one_is(self) -> None:
        self.world.do(self.world.sites[0].directory.create("quiet"))
        bob = self.world.join("quiet", "bob")
        self.put()
        self.turns(
            lambda: self.world.broker.store(
                self.world.stream("quiet"), b'{"id":"q","user":"ann","text":"q"}', 0
            )
        )
        self.assertEqual(bob.texts, ["q"])

    def test_what_comes_meanwhile_leaves_in_one_write_for_those_who_wait(self) -> None:
        self.put()
        calls = [0]
        last = self.readers[-1]
        send = last._send

        def counted(data: bytes) -> int:
            calls[0] += 1
            return send(data)

        last.send = counted
        last.subscription.send_changed()
        seen = self.turns(self.put, self.put)
        self.assertEqual(seen[-1], 10)
        self.assertEqual(calls, [1], "all three messages at once")

    def test_who_joins_or_leaves_meanwhile_misses_and_repeats_nothing(self) -> None:
        joined: list[Socketed] = []
        self.put()
        self.turns(
            lambda: joined.append(self.join("late")),
            self.put,
            self.readers.pop(5).subscription.stop,
            self.readers.pop(0).subscription.stop,
            lambda: joined.append(self.join("later")),
            self.put,
        )
        for reader in self.readers:
            self.assertEqual(reader.texts, self.said)
        self.assertEqual(joined[0].texts, self.said[1:])
        self.assertEqual(joined[1].texts, self.said[2:])

    def test_who_waits_is_not_level_yet(self) -> None:
        places: list[int] = []
        self.put()
        self.turns(lambda: places.extend(r.subscription.offset for r in self.readers))
        self.assertEqual(places, [0] * 3 + [-1] * 7)
        self.assertEqual({r.subscription.offset for r in self.readers}, {0})

    def test_nobody_waits_once_too_much_does(self) -> None:
        self.patch(audience, "WAITING_BYTES", 1000)
        self.put(filler="x" * 400)
        self.assertEqual(self.turns(lambda: self.put(2, "x" * 400))[:2], [3, 10])

    def test_the_end_of_a_room_comes_after_its_messages(self) -> None:
        self.put()
        directory = self.world.sites[0].directory
        self.turns(lambda: self.world.begin(directory.delete("lobby")))
        for reader in self.readers:
            self.assertEqual(reader.texts, self.said)

    def test_a_node_that_drains_hands_out_what_has_come(self) -> None:
        self.put()
        self.assertEqual(self.turns(self.world.sites[0].rooms.flush), [3, 10])

    def test_groups_that_have_become_small_share_a_turn(self) -> None:
        for reader in self.readers[::2]:
            reader.subscription.stop()
        self.readers = self.readers[1::2]
        self.put()
        self.assertEqual(self.turns(), [3, 5])

    def test_sockets_of_any_size_in_any_turn(self) -> None:
        random = Random(11)

        def some() -> None:
            for reader in random.sample(self.readers, 3):
                reader.empty(random.choice((0, 1, 40, 200, 5000, None)))
            if random.random() < 0.2:
                self.readers.append(self.join(f"n{len(self.readers)}"))
            self.put(random.randrange(3))

        began = dict.fromkeys(self.readers, 0)
        for _ in range(40):
            before = len(self.said)
            self.turns(*[some] * 5)
            for reader in self.readers:
                began.setdefault(reader, before)
        for reader in self.readers:
            reader.empty()
        self.world.turn()
        for reader in self.readers:
            got = reader.texts
            self.assertEqual(got, self.said[len(self.said) - len(got) :])
            self.assertGreaterEqual(len(got), len(self.said) - began[reader] - 20)


class TwoGroupsTests(GroupsCase):
    number = 5

    def delivered(self) -> float | None:
        registry = self.world.sites[0].metrics.registry
        return registry.get_sample_value("chatd_messages_delivered_total")

    def test_each_in_a_turn_of_its_own(self) -> None:
        self.put()
        self.assertEqual(self.turns(), [3, 5])
        self.assertEqual(self.delivered(), 5)

    def test_of_several_batches_each_is_counted(self) -> None:
        self.patch(audience, "BATCH_BYTES", 1000)
        self.put(6, "x" * 400)
        self.assertEqual(self.turns(), [3, 5])
        self.assertEqual(self.delivered(), 30)

    def test_those_who_write_in_another_way_have_groups_of_their_own(self) -> None:
        """What is encoded for some is not sent to others."""

        class Other(Lines):
            def encode(self, messages: Sequence[Message]) -> bytes:
                return super().encode(messages) * 2

        def join(session: Session, reader: Reader, encoding: Lines) -> Reader:
            joined = self.world.do(session.join("lobby", reader, Now()))
            assert joined is not None
            reader.joined, reader.encoding = joined, encoding
            joined.subscription.resume()
            return reader

        other = Other()
        twice = [join(*self.world.session(f"t{n}"), other) for n in range(2)]
        self.put()
        self.assertEqual(self.turns()[-1], 5)
        self.world.turn()
        for reader in twice:
            self.assertEqual(reader.texts, self.said * 2)
        self.assertEqual(other.encoded, 1)
