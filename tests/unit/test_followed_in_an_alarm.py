"""Following a stream while RabbitMQ takes no messages, so that no fence can show where it ends."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq.following import COUNTED
from tests.support.followed import Streams
from tests.support.recording import Recorder, body


class EmptyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.streams, self.recorder = Streams(blocked="low on memory"), Recorder()
        self.recorder.may_call = True
        self.streams.follow(Stream("lobby", "1"), 3, self.recorder)
        self.following = self.streams.following
        assert self.following is not None

    def silent(self) -> None:
        assert self.following is not None
        self.following.silent()
        self.streams.clock.advance(COUNTED)

    def test_what_has_no_records_is_empty(self) -> None:
        self.silent()
        self.assertEqual((self.recorder.calls, self.recorder.ends), (["caught_up"], [-1]))

    def test_all_that_comes_later_is_told(self) -> None:
        """As it comes, and after an interruption: not only the tail."""
        for interrupted in (False, True):
            self.setUp()
            self.silent()
            self.streams.blocked = ""
            self.streams.records = [body(f"m{n}", at=0) for n in range(9)]
            if interrupted:
                self.streams.come_back()
                self.assertEqual(self.streams.starts[-1], "first")
            self.streams.bring()
            self.assertEqual(self.recorder.ids, [f"m{n}" for n in range(9)])
            self.assertNotIn("truncated", self.recorder.calls)

    def test_an_interruption_in_which_nothing_came(self) -> None:
        self.silent()
        self.streams.come_back()
        self.silent()
        self.assertEqual(self.recorder.calls, ["caught_up", "interrupted", "caught_up"])
        self.assertEqual(self.recorder.ends, [-1, -1])

    def test_what_has_records_is_asked_again(self) -> None:
        self.streams.records = [body("m0", at=0)]
        self.silent()
        self.assertEqual(self.recorder.calls, [])
        self.streams.clock.advance(1)
        self.assertEqual(self.streams.starts, ["last", "last"])
        self.streams.bring()
        self.assertEqual(self.recorder.ids, ["m0"])

    def test_not_before_it_was_counted(self) -> None:
        assert self.following is not None
        self.following.silent()
        self.streams.clock.advance(COUNTED - 0.1)
        self.assertEqual(self.recorder.calls, [])
