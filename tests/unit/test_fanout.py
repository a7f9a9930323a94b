"""Fan-out to those who are written to directly: partial writes, full and broken sockets."""

from __future__ import annotations

import json
from random import Random

from twisted.trial.unittest import TestCase

from chatd.access.identity import Identity
from chatd.rooms.subscription import SubscriptionState
from tests.support.world import LINES, Lines, Reader, World


class Socketed(Reader):
    """A client's end whose ``send`` is like that of a socket with ``space`` bytes left (None: any
    number), behind a transport that keeps what it did not take."""

    def __init__(self, world: World, identity: Identity, encoding: Lines = LINES) -> None:
        super().__init__(world, identity, encoding)
        self.space: int | None = None
        self.broken = False
        self.received = b""
        self.kept = b""
        self.asked = 0
        self.send = self._send

    def _send(self, data: bytes) -> int:
        assert not self.kept, "overtaken"
        if self.broken:
            raise ConnectionResetError
        if self.space == 0:
            raise BlockingIOError
        taken = len(data) if self.space is None else min(self.space, len(data))
        if self.space is not None:
            self.space -= taken
        self._receive(data[:taken])
        return taken

    def _receive(self, data: bytes) -> None:
        self.received += data
        self.frames = [json.loads(line) for line in self.received.split(b"\n")[:-1]]

    def keep(self, rest: bytes) -> None:
        self.kept += rest
        self.send = None
        self.subscription.send_changed()

    def deliver(self, data: bytes, end: int) -> bool:
        self.asked += 1
        return self.notify(data)

    def notify(self, data: bytes) -> bool:
        if self.send is None:
            return False
        try:
            taken = self._send(data)
        except OSError:
            taken = 0
        if taken < len(data):
            self.keep(data[taken:])
        return True

    def empty(self, space: int | None = None) -> None:
        """The client reads all that is there, and has ``space`` for more."""
        self.space = space
        kept, self.kept = self.kept, b""
        self._receive(kept)
        self.send = self._send
        self.subscription.resume()


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
