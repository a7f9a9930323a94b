"""The names of rooms stay in order, whatever becomes of the rooms."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Stream
from chatd.directory.projection import ChangeKind, DirectoryChange, RoomEntry
from chatd.directory.room_names import RoomNames


class RoomNamesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rooms: dict[str, RoomEntry] = {}
        self.names = RoomNames(lambda: self.rooms)

    def change(self, what: ChangeKind, name: str) -> None:
        entry = self.rooms.get(name) or RoomEntry(Stream(name, "epoch"))
        if what is ChangeKind.DELETED:
            self.rooms.pop(name, None)
        else:
            self.rooms[name] = entry
        self.names.directory_changed(DirectoryChange(what, entry, entry.stream))

    def test_they_are_those_of_the_directory(self) -> None:
        chance = random.Random(7)
        for step in range(500):
            name = f"room-{chance.randrange(100)}"
            known = name in self.rooms
            kinds = (ChangeKind.DELETED, ChangeKind.RENEWED) if known else (ChangeKind.CREATED,)
            self.change(chance.choice(kinds), name)
            after = f"room-{chance.randrange(100)}" if step % 2 else ""
            expected = [one for one in sorted(self.rooms) if one > after]
            self.assertEqual(list(self.names.after(after)), expected)

    def test_a_directory_that_begins_again(self) -> None:
        for name in ("a", "b", "c"):
            self.change(ChangeKind.CREATED, name)
        self.assertEqual(list(self.names.after("")), ["a", "b", "c"])
        lost, self.rooms = self.rooms, {}
        for entry in lost.values():
            change = DirectoryChange(ChangeKind.DELETED, entry, entry.stream)
            self.names.directory_changed(change)
        self.assertEqual(list(self.names.after("")), [])
        self.change(ChangeKind.CREATED, "b")
        self.assertEqual(list(self.names.after("")), ["b"])
