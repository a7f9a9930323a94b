"""Answers that are gathered from several pages, while the room goes on beneath them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from chatd.access.identity import Identity
from chatd.brokers.interfaces import Stream
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import Code
from chatd.rooms.history import HistoryPage
from chatd.rooms.room import Room
from chatd.rooms.start_position import After
from chatd.service.reading import Answer
from tests.support.world import World

ANN = Identity("ann")


class GatheringTests(SynchronousTestCase):
    """A poll whose pages do not come at once."""

    def setUp(self) -> None:
        self.world = World()
        self.chat = self.world.sites[0].chat
        self.life = self.world.stream().life
        self.world.room()
        self.world.store("lobby", "a", "b")

    def texts(self, answer: Answer) -> list[str]:
        return [message.text for message in answer.messages]

    @contextmanager
    def removed(self) -> Iterator[None]:
        """c is removed while a and b are read."""
        page = Room.page

        async def read_on(room: Room, after: int, limit: int, asker: str) -> HistoryPage:
            read = await page(room, after, limit, asker)
            if after < 0:
                return HistoryPage(read.messages[:2], 1, gap=False)
            return HistoryPage(read.messages[-1:], 3, gap=True)

        with mock.patch.object(Room, "page", read_on):
            yield

    def test_a_gap_between_messages_ends_the_answer(self) -> None:
        self.world.store("lobby", "c", "d")
        with self.removed():
            start = After(Cursor(self.life, -1))
            answer = self.world.do(self.chat.poll(ANN, "lobby", start, 100, 0))
            self.assertEqual((self.texts(answer), answer.gap), (["a", "b"], False))
            self.assertEqual((answer.cursor, answer.rest), (Cursor(self.life, 1), None))
            answer = self.world.do(self.chat.poll(ANN, "lobby", After(answer.cursor), 100, 0))
            self.assertEqual((self.texts(answer), answer.gap), (["d"], True))

    def test_looking_back_leaves_out_nothing_behind_a_gap(self) -> None:
        self.world.store("lobby", "c", "d")
        before = Cursor(self.life, 4)
        with self.removed():
            error = self.world.error(self.chat.look_back(ANN, "lobby", before, 100))
        self.assertIs(error.code, Code.UNAVAILABLE)

    def test_the_cursor_goes_no_further_than_the_messages(self) -> None:
        page = Room.page

        async def overtaken(room: Room, *place: Any) -> HistoryPage:
            """More comes while a page is read."""
            self.world.store("lobby", "c", "d")
            return await page(room, *place)

        with mock.patch.object(Room, "page", overtaken):
            start = After(Cursor(self.life, -1))
            answer = self.world.do(self.chat.poll(ANN, "lobby", start, 100, 0))
        self.assertEqual(self.texts(answer), ["a", "b"])
        self.assertEqual((answer.cursor, answer.rest), (Cursor(self.life, 1), None))

    def test_a_new_life_ends_the_answer(self) -> None:
        page = Room.page

        async def renewed(room: Room, *place: Any) -> HistoryPage:
            read = await page(room, *place)
            room.renew(Stream("lobby", "e2"))
            return read

        with mock.patch.object(Room, "page", renewed):
            start = After(Cursor(self.life, -1))
            answer = self.world.do(self.chat.poll(ANN, "lobby", start, 100, 0))
        self.assertEqual((self.texts(answer), answer.gap), (["a", "b"], False))
        self.assertEqual((answer.cursor, answer.rest), (Cursor(self.life, 1), None))

    def test_a_poll_does_not_wait_for_a_life_that_is_over(self) -> None:
        """It began anew while there was nothing to answer with: that is answered at once."""
        page, old = Room.page, self.world.stream()

        async def renewed(room: Room, *place: Any) -> HistoryPage:
            if room.stream != old:
                return await page(room, *place)
            await self.world.sites[0].directory.renew(old)
            return HistoryPage((), 1, gap=False)

        with mock.patch.object(Room, "page", renewed):
            start = After(Cursor(self.life, -1))
            answer = self.world.do(self.chat.poll(ANN, "lobby", start, 100, 30))
        self.assertEqual((self.texts(answer), answer.gap), ([], True))
        self.assertEqual(answer.cursor.epoch, self.world.stream().life)

    def test_what_is_removed_while_one_looks_back(self) -> None:
        """It is not taken for the room's beginning."""

        async def removed(room: Room, *place: Any) -> HistoryPage:
            return HistoryPage((), 0, gap=True)

        with mock.patch.object(Room, "page", removed):
            looking = self.chat.look_back(ANN, "lobby", Cursor(self.life, 1), 100)
            found = self.world.do(looking)
        self.assertEqual((found.messages, found.gap), ([], True))

    def test_the_right_that_is_lost_while_one_looks_back(self) -> None:
        page = Room.page

        async def barred(room: Room, *place: Any) -> HistoryPage:
            await self.world.sites[0].directory.set_private("lobby", True)
            return await page(room, *place)

        with mock.patch.object(Room, "page", barred):
            looking = self.chat.look_back(ANN, "lobby", Cursor(self.life, 1), 100)
            self.assertIs(self.world.error(looking).code, Code.FORBIDDEN)


class DeletedTests(SynchronousTestCase):
    """The room is deleted when the first of several pages has been read."""

    def setUp(self) -> None:
        self.world = World()
        self.chat = self.world.sites[0].chat
        self.life = self.world.stream().life
        self.world.room()
        self.world.store("lobby", *(f"{n:04}{'-' * 800}" for n in range(800)))
        page, self.pages = Room.page, 0

        async def deleted(room: Room, *place: Any) -> HistoryPage:
            self.pages += 1
            assert self.pages < 10, "it never ends"
            read = await page(room, *place)
            if self.pages == 1:
                self.assertTrue(read.messages)
                self.world.do(self.world.sites[0].directory.delete("lobby"))
            return read

        patch = mock.patch.object(Room, "page", deleted)
        patch.start()
        self.addCleanup(patch.stop)

    def test_ends_a_poll(self) -> None:
        start = After(Cursor(self.life, -1))
        error = self.world.error(self.chat.poll(ANN, "lobby", start, 500, 0))
        self.assertIs(error.code, Code.UNKNOWN_ROOM)

    def test_ends_looking_back(self) -> None:
        before = Cursor(self.life, 300)
        error = self.world.error(self.chat.look_back(ANN, "lobby", before, 200))
        self.assertIs(error.code, Code.UNKNOWN_ROOM)

    def test_is_said_to_who_joins(self) -> None:
        session, reader = self.world.session("bob")
        joining = self.world.begin(session.join("lobby", reader, After(Cursor(self.life, 5))))
        self.world.turn()
        self.assertIs(joining[0].value.code, Code.UNKNOWN_ROOM)
