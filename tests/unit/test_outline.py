"""What is known of a block without its messages."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Retention
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import Content, Message, read_message
from chatd.rooms.dating import Dates, Dating
from chatd.rooms.outline import BLOCK, Outline, Parsed
from chatd.timing.wall import WallClock


class OutlineTests(SynchronousTestCase):
    """What is known of a block without its messages: of the second one here."""

    def record(self, place: int, id: str = "", time: int = 0) -> Parsed:
        """The record of a message in the block; ids are the places but for what is given."""
        offset = BLOCK + place
        body = Content("ann", id or str(place), "x").record(self.now + time)
        message = read_message("lobby", Cursor("e", offset), body)
        return offset, message, len(message.json)

    def junk(self, place: int) -> Parsed:
        return BLOCK + place, None, 4

    def setUp(self) -> None:
        self.clock = Clock()
        self.now = 1_800_000_000_000
        self.clock.advance(self.now // 1000)
        self.dating = Dating(WallClock(self.clock), Retention(age=100))
        self.outline = Outline(1)

    def judge(self) -> None:
        self.outline.judge((), self.dating, Dates(self.now, 100_000))

    def test_what_continues_it(self) -> None:
        outline = self.outline
        self.assertTrue(outline.continues([], BLOCK))
        self.assertTrue(outline.continues([self.record(3)], BLOCK))
        outline.extend([self.record(0), self.junk(1), self.record(2)], BLOCK + 2)
        start = BLOCK + 2
        self.assertTrue(outline.continues([self.record(2), self.record(3)], start))
        for other in (
            [],
            [self.record(3)],
            [self.record(2, "other"), self.record(3)],
            [self.junk(2), self.record(3)],
            [self.record(0), self.record(2)],
        ):
            self.assertFalse(outline.continues(other, start), other)

    def test_what_it_knows_of(self) -> None:
        outline = self.outline
        outline.extend([self.record(0), self.junk(1), self.record(5)], BLOCK + 9)
        self.assertTrue(outline.fits([]))
        self.assertTrue(outline.fits([self.record(0), self.junk(1), self.record(5)]))
        for other in (
            self.record(0, "other"),
            self.junk(0),
            self.record(1),
            self.record(2),
            self.record(2, "5"),
            self.record(6),
            self.record(6, "5"),
            self.junk(200),
        ):
            self.assertFalse(outline.fits([self.record(0), other]), other)

    def test_it_grows_by_what_is_new(self) -> None:
        outline = self.outline
        self.assertEqual((len(outline), outline.known, outline.whole), (0, BLOCK - 1, False))
        outline.extend([self.record(0), self.record(3)], BLOCK + 3)
        outline.extend([self.record(3), self.record(4)], BLOCK + 8)
        self.assertEqual([outline.offset(i) - BLOCK for i in range(len(outline))], [0, 3, 4])
        self.assertEqual(outline.known, BLOCK + 8)
        outline.extend([self.record(4), self.record(255)], 2 * BLOCK - 1)
        self.assertEqual((len(outline), outline.whole), (4, True))

    def test_what_is_found_where(self) -> None:
        outline = self.outline
        outline.extend([self.record(1), self.record(4)], BLOCK + 9)
        at = [outline.at(BLOCK + place) for place in (-200, 0, 1, 2, 4, 5, 100)]
        self.assertEqual(at, [0, 0, 0, 1, 1, 2, 2])

    def test_what_is_visible(self) -> None:
        """Nothing that has expired, up to the millisecond, and no repetition; but what has no time
        of its own."""
        outline = self.outline
        undated = BLOCK + 4, self.undated(BLOCK + 4), 50
        records = [self.record(0), self.record(1, time=1), self.record(2, "0"), self.junk(3)]
        outline.extend([*records, undated, self.record(5, time=2)], BLOCK + 5)
        self.assertFalse(outline.judged)
        self.judge()
        self.assertTrue(outline.judged)
        everything = 2 * BLOCK
        for oldest, places in ((0, [0, 1, 4, 5]), (1, [1, 4, 5]), (2, [4, 5]), (3, [4])):
            visible = outline.visible(self.now + oldest, everything)
            self.assertEqual(list(visible), places, oldest)
        self.assertEqual(list(outline.shown(BLOCK + 4)), [0, 1])
        self.assertEqual(list(outline.visible(self.now + 1, BLOCK + 5)), [1, 4])
        self.assertIsNone(outline.message(records[2]))
        self.assertIsNone(outline.message(records[3]))
        self.assertIs(outline.message(records[1]), records[1][1])

    def undated(self, offset: int) -> Message:
        body = b'{"id":"undated","user":"ann","text":"x"}'
        return read_message("lobby", Cursor("e", offset), body)
