"""Writing to the broker: straight to the socket, in order, and publishes of one turn together."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from twisted.internet.task import Clock
from twisted.internet.tcp import Connection

from chatd.amqp.outgoing import GATHERED, HELD_UP, Outgoing


class _Socket:
    """Takes as many bytes as there is ``room`` for; an error if there is none."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.room -= len(taken)
        self.sent.append(taken)
        return len(taken)


class _Transport(Connection):
    """A plain connection that is written to, and does not send by itself."""

    def __init__(self) -> None:
        self.socket: Any = _Socket()
        self.written: list[bytes] = []
        self._tempDataBuffer: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self._tempDataBuffer = [data]


class OutgoingTests(TestCase):
    def setUp(self) -> None:
        self.clock, self.transport = Clock(), _Transport()
        self.held_up = 0
        self.outgoing = Outgoing(self.clock, self.hold_up)
        self.outgoing.begin(self.transport)
        self.sent = self.transport.socket.sent

    def hold_up(self) -> None:
        self.held_up += 1

    def test_goes_straight_to_the_socket(self) -> None:
        self.outgoing.write(b"one")
        self.assertEqual((self.sent, self.transport.written), ([b"one"], []))

    def test_what_waited_while_the_process_stood_still_is_not_sent(self) -> None:
        for leave in (lambda: self.clock.advance(0), lambda: self.outgoing.write(b"more")):
            self.outgoing.gather(b"one")
            self.clock.rightNow += HELD_UP + 1
            leave()
        self.assertEqual((self.sent, self.held_up), ([], 2))

    def test_what_the_socket_does_not_take_is_left_to_the_transport(self) -> None:
        self.transport.socket.room = 2
        self.outgoing.write(b"one")
        self.assertEqual((self.sent, self.transport.written), ([b"on"], [b"e"]))

    def test_a_socket_that_takes_nothing(self) -> None:
        self.transport.socket.room = 0
        self.outgoing.write(b"one")
        self.assertEqual((self.sent, self.transport.written), ([], [b"one"]))

    def test_nothing_overtakes_what_the_transport_has(self) -> None:
        self.transport.socket.room = 2
        self.outgoing.write(b"one")
        self.transport.socket.room = 100
        self.outgoing.write(b"two")
        self.assertEqual((self.sent, self.transport.written), ([b"on"], [b"e", b"two"]))
        self.transport._tempDataBuffer, self.transport.dataBuffer = [], b"etwo"
        self.transport.offset = 1
        self.outgoing.write(b"three")
        self.assertEqual(self.transport.written[-1], b"three")
        self.transport._tempDataBuffer, self.transport.offset = [], 4
        self.outgoing.write(b"four")
        self.assertEqual(self.sent, [b"on", b"four"])

    def test_tls_is_left_to_the_transport(self) -> None:
        self.transport.TLS = True
        outgoing = Outgoing(self.clock, self.hold_up)
        outgoing.begin(self.transport)
        outgoing.write(b"one")
        self.assertEqual((self.sent, self.transport.written), ([], [b"one"]))

    def test_what_is_gathered_leaves_together_at_the_end_of_the_turn(self) -> None:
        self.outgoing.gather(b"a")
        self.outgoing.gather(b"b")
        self.assertEqual(self.sent, [])
        self.clock.advance(0)
        self.assertEqual(self.sent, [b"ab"])
        self.outgoing.gather(b"c")
        self.clock.advance(0)
        self.assertEqual(self.sent, [b"ab", b"c"])

    def test_a_write_follows_what_is_gathered(self) -> None:
        self.outgoing.gather(b"a")
        self.outgoing.write(b"b")
        self.assertEqual(self.sent, [b"ab"])
        self.clock.advance(0)
        self.assertEqual(self.sent, [b"ab"])

    def test_no_more_is_gathered_than_leaves_in_one_write(self) -> None:
        self.outgoing.gather(b"a" * GATHERED)
        self.assertEqual(self.sent, [])
        self.outgoing.gather(b"b")
        self.assertEqual(len(b"".join(self.sent)), GATHERED + 1)
        self.outgoing.gather(b"c")
        self.assertEqual(len(b"".join(self.sent)), GATHERED + 1)

    def test_nothing_that_waits_is_written_after_the_end(self) -> None:
        self.outgoing.gather(b"a")
        self.outgoing.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.sent, self.transport.written), ([], []))
