"""When all objects are searched for garbage: when there is more, whatever has come and gone."""

from __future__ import annotations

import gc
import mmap
import weakref
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.net.memory import Resident
from chatd.service import garbage
from chatd.service.garbage import (
    CLIENT,
    EVERY,
    NEVER,
    PLACE,
    REQUEST,
    ROOM,
    GarbageCollection,
    known_bytes,
)
from tests.support.serving import node_of_twistd

MB = 1024 * 1024
FULL = b"x" * MB


class Piece:
    """A megabyte that refers to itself."""

    def __init__(self) -> None:
        self.me = self
        self.memory = mmap.mmap(-1, MB)  # which comes from the system and goes back to it at once
        self.memory.write(FULL)


class GarbageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(garbage, "BYTES", 20 * MB)
        self.patch(garbage, "SHARE", 0.0)
        self.clock = Clock()
        self.searched = 0
        gc.callbacks.append(self.count)
        self.addCleanup(gc.callbacks.remove, self.count)
        self.before = gc.get_threshold()
        gc.collect()
        self.known = 0
        self.service = GarbageCollection(self.clock, lambda: self.known)
        self.service.startService()
        self.addCleanup(self.stop)
        self.searched = 0

    def stop(self) -> None:
        """It has a file open, by which it asks how much memory there is."""
        if self.service.running:
            self.service.stopService()

    def count(self, phase: str, info: dict[str, Any]) -> None:
        self.searched += phase == "start" and info["generation"] == 2

    def old(self, count: int) -> list[Piece]:
        """So many pieces that have survived the searches among the young."""
        pieces = [Piece() for _ in range(count)]
        gc.collect(1)
        return pieces

    def test_what_ended_is_found_once_there_is_much_of_it(self) -> None:
        pieces = self.old(10)
        gone = weakref.ref(pieces[0])
        pieces.clear()
        self.clock.advance(EVERY)
        self.assertIsNotNone(gone())
        self.assertEqual(self.searched, 0)
        self.old(20).clear()
        self.clock.advance(EVERY)
        self.assertIsNone(gone())
        self.assertEqual(self.searched, 1)
        self.clock.advance(EVERY)
        self.assertEqual(self.searched, 1, "there is no more than there was")

    def test_what_comes_and_goes_is_no_reason(self) -> None:
        kept: list[list[int]] = []
        for _ in range(20):  # many survive searches among the young, and go later
            kept = [[n] for n in range(20_000)]
            gc.collect(1)
            self.clock.advance(EVERY)
        self.assertEqual((len(kept), self.searched), (20_000, 0))

    def test_what_comes_is_compared_with_the_least_there_was(self) -> None:
        kept = self.old(30)
        self.clock.advance(EVERY)
        self.assertEqual(self.searched, 1)
        self.clock.advance(EVERY)
        self.assertEqual(self.searched, 1, "searched again, though nothing has come")
        kept += self.old(30)
        self.clock.advance(EVERY)
        self.assertEqual((len(kept), self.searched), (60, 2))

    def test_what_was_searched_in_vain_is_no_reason_again(self) -> None:
        kept = self.old(30)
        self.clock.advance(EVERY)
        self.assertEqual(self.searched, 1)
        for _ in range(3):  # they leave and come back
            self.free(kept)
            self.clock.advance(EVERY)
            kept = self.old(30)
            self.clock.advance(EVERY)
        self.assertEqual(self.searched, 1)
        kept += self.old(30)
        self.clock.advance(EVERY)
        self.assertEqual(self.searched, 2, "there is more than was searched")

    def free(self, pieces: list[Piece]) -> None:
        """Let go of them without a search."""
        for piece in pieces:
            piece.memory.close()
        pieces.clear()

    def test_for_clients_who_are_there_nothing_is_searched(self) -> None:
        pieces = self.old(30)
        self.known = 30 * MB
        self.clock.advance(EVERY)
        self.assertEqual(self.searched, 0)
        pieces.clear()
        self.known = 0
        self.clock.advance(EVERY)
        self.assertEqual(self.searched, 0, "others may be about to leave")
        self.clock.advance(EVERY)
        self.assertEqual(self.searched, 1)

    def test_more_may_come_where_there_is_much(self) -> None:
        self.patch(garbage, "SHARE", 1.0)
        self.old(30).clear()
        self.clock.advance(EVERY)
        self.assertEqual(self.searched, 0)

    def test_python_does_it_again_after_the_end(self) -> None:
        self.assertEqual(gc.get_threshold(), (*self.before[:2], NEVER))
        self.stop()
        self.assertEqual(gc.get_threshold(), self.before)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_where_it_cannot_be_told_how_much_there_is(self) -> None:
        """In a chroot without /proc, which a node starts in all the same."""
        self.stop()

        def missing() -> Resident:
            raise FileNotFoundError(2, "No such file or directory", "/proc/self/statm")

        self.patch(garbage, "Resident", missing)
        self.service.startService()
        self.assertEqual(gc.get_threshold(), self.before, "Python goes on")
        self.clock.advance(EVERY)
        self.service.stopService()
        self.assertEqual(gc.get_threshold(), self.before)

    def test_what_members_of_many_rooms_take_is_known(self) -> None:
        places, budget = mock.Mock(taken=48 * 800), mock.Mock(used=5 * MB)
        rooms = mock.Mock(node=mock.Mock(places=places, budget=budget), count=48)
        status = mock.Mock(connections=mock.Mock(total=800))
        status.node.chat.rooms, status.node.chat.waiting = rooms, 9
        known = 800 * CLIENT + 48 * 800 * PLACE + 48 * ROOM + 9 * REQUEST + (5 + 7) * MB
        unread = mock.Mock(total=7 * MB)
        self.assertEqual(known_bytes(status, unread), known)

    def test_a_node_of_twistd_has_it(self) -> None:
        node = node_of_twistd()
        self.assertIsInstance(node.getServiceNamed("garbage"), GarbageCollection)
        self.assertEqual(known_bytes(node.status, node.admission.unread), 0)
