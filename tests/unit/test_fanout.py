"""Fan-out to those who are written to directly: partial writes, full and broken sockets."""

from __future__ import annotations

from random import Random
from unittest import mock

from twisted.trial.unittest import TestCase

from chatd.presence.board import News
from chatd.rooms.subscription import SubscriptionState
from tests.support.socketed import Socketed
from tests.support.world import Lines, World


class DirectSendTests(TestCase):
    def setUp(self) -> None:
        self.world = World(reader=Socketed)
        self.said: list[str] = []

    def join(self, user: str) -> Socketed:
        reader = self.world.join("lobby", user)
        assert isinstance(reader, Socketed)
        return reader

    def say(self, count: int = 1) -> None:
        new = [f"m{len(self.said) + n}" for n in range(count)]
        self.said += new
        self.world.store("lobby", *new)

    def test_who_takes_all_is_never_asked(self) -> None:
        readers = [self.join(f"r{n}") for n in range(5)]
        self.say(3)
        self.say()
        for reader in readers:
            self.assertEqual(reader.texts, self.said)
            self.assertEqual(reader.asked, 0)

    def test_one_whose_end_fails_holds_up_nobody(self) -> None:
        readers = [self.join(f"r{n}") for n in range(6)]
        short, asked = readers[1], readers[4]
        short.space = 5
        asked.send = None
        asked.subscription.send_changed()
        last = self.join("last")
        last.send = None
        last.subscription.send_changed()
        with (
            mock.patch.object(short, "keep", side_effect=RuntimeError),
            mock.patch.object(asked, "deliver", side_effect=RuntimeError),
            mock.patch.object(last, "deliver", side_effect=lambda *_: True) as delivered,
        ):
            self.say()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertEqual(delivered.call_count, 1)
        for reader in (readers[0], *readers[2:4], readers[5]):
            self.assertEqual(reader.texts, self.said)
        self.assertIs(asked.state, SubscriptionState.BEHIND)

    def test_what_was_taken_in_part_is_completed_and_not_repeated(self) -> None:
        readers = [self.join(f"r{n}") for n in range(5)]
        slow = readers[2]
        slow.space = 50
        self.say()
        self.say(2)
        self.assertEqual(slow.texts, [])
        self.assertEqual(slow.asked, 1, "asked again though it had fallen behind")
        self.assertIs(slow.state, SubscriptionState.BEHIND)
        slow.empty()
        self.say()
        for reader in readers:
            self.assertEqual(reader.texts, self.said)

    def test_a_socket_that_takes_nothing(self) -> None:
        first, full, last = (self.join(f"r{n}") for n in range(3))
        full.space = 0
        self.say(2)
        full.empty()
        self.assertEqual(full.asked, 0, "it has all there is: it is live")
        self.say()
        for reader in (first, full, last):
            self.assertEqual(reader.texts, self.said)
        self.assertEqual(full.asked, 0, "it takes messages again: it need not be asked")

    def test_broken_sockets_hold_up_nobody(self) -> None:
        readers = [self.join(f"r{n}") for n in range(6)]
        for reader in readers[::2]:
            reader.broken = True
        self.say()
        self.say()
        for reader in readers[1::2]:
            self.assertEqual(reader.texts, self.said)

    def test_leaving_takes_out_the_one_who_leaves(self) -> None:
        readers = [self.join(f"r{n}") for n in range(6)]
        for gone in (readers[0], readers[3], readers[5]):
            gone.subscription.stop()
        self.say()
        for number, reader in enumerate(readers):
            self.assertEqual(reader.texts, [] if number in (0, 3, 5) else self.said)

    def test_one_whose_answer_was_not_taken_is_not_written_to(self) -> None:
        ann, bob = self.join("ann"), self.join("bob")
        bob.keep(b'{"type":"ack"}\n')
        self.say()
        bob.empty()
        self.assertEqual([f["type"] for f in bob.frames], ["ack", "message"])
        self.assertEqual(ann.texts, bob.texts)

    def test_sockets_of_any_size_get_everything_once_and_in_order(self) -> None:
        random = Random(7)
        readers = [self.join(f"r{n}") for n in range(12)]
        for _ in range(300):
            for reader in random.sample(readers, 3):
                reader.empty(random.choice((0, 1, 40, 200, 5000, None)))
            self.say(random.randrange(4))
        for reader in readers:
            reader.empty()
            self.world.turn()
            self.assertEqual(reader.texts, self.said)


class TellTests(TestCase):
    """What is not stored: shown to who can take it now, encoded once."""

    def setUp(self) -> None:
        self.world = World()
        self.encoding = Lines()
        self.encode = mock.Mock(side_effect=self.encoding.event)
        self.patch(self.encoding, "event", self.encode)
        self.readers = [self.world.join("lobby", user) for user in ("ann", "bob", "cid")]
        self.room = self.world.room()
        for reader in self.readers:
            reader.encoding = self.encoding

    def test_to_all_but_one(self) -> None:
        cid = self.readers[2]
        cid.stall()
        frame = {"type": "typing", "room": "lobby", "user": "ann"}
        self.room.notify(frame, besides="ann")
        cid.read_on()
        self.assertEqual([reader.frames for reader in self.readers], [[], [frame], []])
        self.room.notify(frame, besides="dan")
        self.assertEqual(
            [reader.frames for reader in self.readers], [[frame], [frame] * 2, [frame]]
        )

    def test_encoded_once(self) -> None:
        self.room.notify({"type": "typing", "room": "lobby", "user": "dan"}, besides="dan")
        self.assertEqual(self.encode.call_count, 1)
        self.room.presence(News.of(1, frozenset(), frozenset(), frozenset({"dan"}), True))
        self.assertEqual(self.encode.call_count, 2)
        self.assertEqual({reader.frames[-1]["type"] for reader in self.readers}, {"presence"})
