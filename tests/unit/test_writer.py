"""The sending side of a connection: who does not read is not read from, until he has read."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.budget import Unread
from chatd.timing.gathering import Gathering
from chatd.transports.writer import BUFFER, HELD, Writer


class WriterTests(SynchronousTestCase):
    """As over TLS: the transport says when it takes no more, and when it takes something again."""

    def setUp(self) -> None:
        self.transport = StringTransport()
        self.unread = Unread(1 << 30, Clock())
        self.told: list[str] = []
        self.writer = Writer(
            self.transport,
            lambda: self.told.append("writable"),
            lambda: self.told.append("blocked"),
            lambda: self.told.append("resumed"),
            self.unread,
            Gathering(),
        )

    @property
    def reads(self) -> bool:
        """Whether the client is read from."""
        return self.transport.producerState == "producing"

    def test_who_leaves_answers_unread_is_not_read_from_until_they_are(self) -> None:
        """However many answers there are, of requests that had come before."""
        self.writer.write(b"x" * (2 * HELD))
        self.assertTrue(self.reads)
        self.writer.pauseProducing()
        self.writer.write(b"x" * HELD)
        self.assertTrue(self.reads)
        for _ in range(3):
            self.writer.write(b"x")
            self.assertFalse(self.reads)
        self.assertEqual(self.unread.total, BUFFER + HELD + 3)
        self.writer.resumeProducing()
        self.assertTrue(self.reads)
        self.assertEqual(self.told, ["resumed", "writable"])
        self.assertEqual(self.unread.total, 0)
        self.assertEqual(len(self.transport.value()), 3 * HELD + 3)

    def test_there_may_be_several_reasons_not_to_read(self) -> None:
        self.writer.stop_reading()
        self.writer.pauseProducing()
        self.writer.write(b"x" * (HELD + 1))
        self.writer.resumeProducing()
        self.assertFalse(self.reads)
        self.writer.start_reading()
        self.assertTrue(self.reads)
        self.assertEqual((self.told, self.writer.switches), (["writable", "resumed"], 2))

    def test_who_waits_for_a_large_answer_goes_on_one_after_the_other(self) -> None:
        """Each fills the transport again. Until all have gone on, nothing is read."""
        self.writer.pauseProducing()
        waiting = [Deferred.fromCoroutine(self.writer.ready()) for _ in range(3)]
        for one in waiting:
            one.addCallback(self._filled)
        for n in range(3):
            self.assertEqual([one.called for one in waiting], [m < n for m in range(3)])
            self.assertFalse(self.reads)
            self.writer.resumeProducing()
        self.assertEqual([self.successResultOf(one) for one in waiting], [True] * 3)
        self.assertTrue(self.reads)

    def _filled(self, ready: bool) -> bool:
        self.writer.pauseProducing()
        return ready

    def test_a_connection_that_is_lost(self) -> None:
        """Nobody waits for it any more, and nothing is done with it."""
        self.writer.pauseProducing()
        self.writer.write(b"x" * (HELD + 1))
        waiting = [Deferred.fromCoroutine(self.writer.ready()) for _ in range(3)]
        self.writer.lost()
        self.assertEqual([self.successResultOf(one) for one in waiting], [False] * 3)
        self.assertEqual(self.unread.total, 0)
        self.assertFalse(self.writer.offer(b"x"))
        self.writer.start_reading()
        self.assertFalse(self.reads)
        self.assertEqual(self.told, [])

    def test_one_that_is_closed_is_read_from_again(self) -> None:
        """Its client's answer to the close may come, though it had left other answers unread."""
        self.writer.pauseProducing()
        self.writer.write(b"x" * (HELD + 1))
        self.writer.close()
        self.assertTrue(self.reads)
        self.writer.resumeProducing()
        self.assertEqual((self.writer.stops, self.told), (0, []))
