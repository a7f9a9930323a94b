"""What is held for a Socket.IO client that polls goes out in payloads that every client takes."""

from __future__ import annotations

from unittest import TestCase, mock

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from chatd.access.budget import Unread
from chatd.transports.encodings import text_frame, texts
from chatd.transports.socketio.poll_outlet import EVENTS, PACKETS, PollOutlet


class PollOutletTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.unread = Unread(1024 * 1024, self.clock)
        self.outlet = PollOutlet(self.clock, self.unread, mock.Mock(), mock.Mock())

    def polled(self) -> list[bytes]:
        """The packets of the next payload."""
        payloads: list[bytes] = []
        self.outlet.poll().addCallback(payloads.append)
        self.clock.advance(0)
        [payload] = payloads
        return payload.split(b"\x1e")

    def test_many_answers_take_several_polls(self) -> None:
        said = [b"%d" % n for n in range(2 * PACKETS + 1)]
        for one in said[:3]:
            self.outlet.write(text_frame(one))
        self.outlet.write(b"".join(map(text_frame, said[3:])))
        got = [self.polled() for _ in range(3)]
        self.assertEqual([len(packets) for packets in got], [PACKETS, PACKETS, 1])
        self.assertEqual([one for packets in got for one in packets], said)
        self.assertEqual((self.outlet.size, self.unread.total), (0, 0))

    def test_a_ping_does_not_wait_behind_them(self) -> None:
        for n in range(PACKETS):
            self.outlet.write(text_frame(b"%d" % n))
        self.outlet.ping(b"2")
        self.assertEqual([self.polled()[0], self.polled()], [b"2", [b"%d" % (PACKETS - 1)]])

    def test_what_comes_when_a_poll_was_given_up_is_for_the_next(self) -> None:
        poll = self.outlet.poll()
        poll.addErrback(lambda why: why.trap(CancelledError) and None)
        poll.cancel()
        self.assertFalse(self.outlet.polled or self.outlet.writable)
        self.outlet.write(text_frame(b"x"))
        self.clock.advance(0)
        self.assertEqual(self.polled(), [b"x"])

    def test_what_is_left_goes_on_elsewhere(self) -> None:
        said = [b"%d" % n for n in range(PACKETS + 2)]
        self.outlet.write(b"".join(map(text_frame, said)))
        self.polled()
        self.assertEqual(texts(self.outlet.take()), said[PACKETS:])
        self.assertEqual((self.outlet.size, self.unread.total), (0, 0))

    def test_events_are_dropped_where_much_waits_for_a_poll(self) -> None:
        """Typing and presence, that is, which are worthless later."""
        event = text_frame(b"typing")
        self.outlet.write(text_frame(b"x" * (EVENTS - 1)))
        self.assertTrue(self.outlet.notify(event))
        self.polled()
        self.outlet.write(text_frame(b"x" * EVENTS))
        self.assertFalse(self.outlet.notify(event))
        self.assertEqual(self.polled(), [b"x" * EVENTS])
        self.outlet.close()
        self.assertFalse(self.outlet.notify(event))
        self.assertEqual(self.outlet.size, 0)
