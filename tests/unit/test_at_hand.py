"""What is at hand is what a poll would answer with, or nothing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatd.access.identity import Identity
from chatd.brokers.interfaces import Retention
from chatd.protocol.cursors import Cursor
from chatd.rooms.history import PAGE_BYTES
from chatd.rooms.room import Room
from chatd.rooms.start_position import After
from chatd.service.at_hand import at_hand
from tests.support.world import World

ANN = Identity("ann")


class AtHandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(retention=Retention(100))
        self.chat = self.world.sites[0].chat
        self.life = self.world.stream().life
        self.room: Room = self.world.room()

    def compare(self) -> list[tuple[int, int]]:
        """Compare at every offset, for every limit that matters; where nothing was at hand."""
        missing = []
        for offset in range(-1, self.room.head + 3):
            for limit in (*range(1, self.room.head + 3), 1000):
                cursor = Cursor(self.life, offset)
                found = at_hand(self.room, cursor, limit)
                if found is None:
                    missing.append((offset, limit))
                    continue
                answer = self.world.do(self.chat.poll(ANN, "lobby", After(cursor), limit, 0))
                self.assertEqual(
                    (list(found.messages), found.cursor, found.gap, found.rest),
                    (list(answer.messages), answer.cursor, answer.gap, answer.rest),
                    (offset, limit),
                )
        return missing

    def beyond(self, *limits: int) -> list[tuple[int, int]]:
        """The places after the end."""
        every = (*range(1, self.room.head + 3), 1000)
        return [(self.room.head + ahead, limit) for ahead in (1, 2) for limit in every]

    def test_an_empty_room(self) -> None:
        self.assertEqual(self.compare(), self.beyond())

    def test_messages(self) -> None:
        self.world.store("lobby", "a", "b", "c", "d")
        self.assertEqual(self.compare(), self.beyond())

    def test_records_that_are_no_messages(self) -> None:
        for text in ("a", "b", "c"):
            self.world.foreign("lobby", b"{}", b"{")
            self.world.store("lobby", text)
        self.world.foreign("lobby", b"{}", b"{")
        self.assertEqual(self.compare(), self.beyond())

    def test_what_is_not_cached(self) -> None:
        self.world.store("lobby", "a", "b", "c")
        self.room.recent.forget()
        self.world.store("lobby", "d", "e")
        every = (*range(1, 7), 1000)
        missing = [(offset, limit) for offset in (-1, 0, 1) for limit in every]
        self.assertEqual(self.compare(), missing + self.beyond())

    def test_more_than_a_page(self) -> None:
        """Even if all of it is cached."""
        self.world.store("lobby", *[str(n) + "x" * (PAGE_BYTES // 3) for n in range(4)], "y")
        self.assertIsNone(at_hand(self.room, Cursor(self.life, -1), 1000))
        self.assertIsNotNone(at_hand(self.room, Cursor(self.life, -1), 3))
        self.assertIsNotNone(at_hand(self.room, Cursor(self.life, 2), 1000))
        self.compare()

    def test_what_has_expired(self) -> None:
        self.world.store("lobby", "a", "b", time=self.world.now - 60_000)
        self.world.store("lobby", "c", "d")
        self.world.advance(50)
        self.room = self.world.room()
        self.world.do(self.chat.room(ANN, "lobby"))
        missing = self.compare()
        self.assertIn((-1, 1000), missing)
        self.assertNotIn((1, 1000), missing)

    def test_another_life_of_the_room(self) -> None:
        self.world.store("lobby", "a")
        for life in ("e0", self.life + "0", ""):
            self.assertIsNone(at_hand(self.room, Cursor(life, -1), 9), life)

    def test_a_room_that_is_not_attached(self) -> None:
        self.world.store("lobby", "a")
        self.room.detach()
        for offset in (-1, 0):
            self.assertIsNone(at_hand(self.room, Cursor(self.life, offset), 9))
