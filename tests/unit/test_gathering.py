"""Answers that are due together leave in one write, in order, and none is left behind."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.budget import Unread
from chatd.timing.gathering import Gathering
from chatd.transports.writer import Writer


class Transport(StringTransport):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)


class GatheringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.answers = Gathering()
        self.transport = Transport()
        self.writer = Writer(self.transport, _no, _no, _no, Unread(1 << 20, Clock()), self.answers)

    def test_gathers_while_open(self) -> None:
        self.writer.write(b"a")
        with self.answers:
            self.writer.write(b"b")
            self.writer.write(b"c")
            self.assertEqual(self.transport.writes, [b"a"])
        self.writer.write(b"d")
        self.assertEqual(self.transport.writes, [b"a", b"bc", b"d"])

    def test_each_connection_gets_its_own(self) -> None:
        transport = Transport()
        other = Writer(transport, _no, _no, _no, Unread(1 << 20, Clock()), self.answers)
        with self.answers:
            for data in (b"1", b"2"):
                self.writer.write(b"a" + data)
                other.write(b"b" + data)
        self.assertEqual((self.transport.writes, transport.writes), ([b"a1a2"], [b"b1b2"]))

    def test_messages_follow_the_answers_before_them(self) -> None:
        with self.answers:
            self.writer.write(b"answer")
            self.assertTrue(self.writer.offer(b"message"))
            self.writer.write(b"more")
        self.assertEqual(self.transport.writes, [b"answer", b"message", b"more"])

    def test_closing_sends_what_was_gathered_and_nothing_more(self) -> None:
        with self.answers:
            self.writer.write(b"last")
            self.writer.close()
            self.writer.write(b"never")
        self.assertEqual(self.transport.writes, [b"last"])

    def test_nothing_is_written_to_a_lost_connection(self) -> None:
        with self.answers:
            self.writer.write(b"late")
            self.writer.lost()
        self.assertEqual(self.transport.writes, [])

    def test_a_client_that_does_not_read_gets_all_in_order(self) -> None:
        self.writer.pauseProducing()
        with self.answers:
            self.writer.write(b"a")
            self.writer.write(b"b")
        self.assertEqual(b"".join(self.transport.writes), b"ab")

    def test_an_inner_block_ends_the_outer_one(self) -> None:
        with self.answers:
            self.writer.write(b"a")
            with self.answers:
                self.writer.write(b"b")
            self.writer.write(b"c")
            self.assertEqual(self.transport.writes, [b"ab", b"c"])

    def test_an_answer_that_fails_holds_up_no_other(self) -> None:
        broken = Transport()
        other = Writer(broken, _no, _no, _no, Unread(1 << 20, Clock()), self.answers)
        self.patch(broken, "write", _fail)
        with self.answers:
            other.write(b"a")
            self.writer.write(b"b")
        self.assertEqual(self.transport.writes, [b"b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_error_loses_no_answer(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.answers:
            self.writer.write(b"a")
            raise ZeroDivisionError
        self.assertEqual(self.transport.writes, [b"a"])


def _fail(data: bytes) -> None:
    raise ZeroDivisionError


def _no() -> None:
    """Nothing is to be done."""
