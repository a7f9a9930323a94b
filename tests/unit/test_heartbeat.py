"""Liveness on a clock that tests turn: who is gone, and who is only slow."""

from __future__ import annotations

import socket
import struct
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.net.tcp import SILENCE, behind, silent
from chatd.timing.timer_wheel import STOOD_STILL, TimerWheel
from chatd.transports.websocket.heartbeat import PING_EVERY, PONG_WITHIN, Heartbeat


class Silence:
    """A socket whose kernel says how long its peer has acknowledged nothing (tcp_info)."""

    unacked = probes = 0
    last_ack = 0.0

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        info = bytearray(size)
        info[3] = self.probes
        struct.pack_into("I", info, 24, self.unacked)
        struct.pack_into("I", info, 56, int(self.last_ack * 1000))
        return bytes(info)


@define
class Peer:
    """The transport and the outlet of a connection."""

    socket: Silence = field(factory=Silence)
    writable: bool = True
    stops: int = 0
    switches: int = 0

    def read(self, reads: bool) -> None:
        """The server resumes or stops reading."""
        self.stops = 0 if reads else 1
        self.switches += 1


class HeartbeatTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.peer = Peer()
        self.pings = 0
        self.died = 0
        either: Any = self.peer
        self.heart = Heartbeat(TimerWheel(self.clock), either, either, self.ping, self.dead)
        self.addCleanup(self.heart.stop)

    def ping(self) -> None:
        self.pings += 1

    def dead(self) -> None:
        self.died += 1

    def pass_(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.clock.advance(1)

    def test_a_ping_every_25_seconds(self) -> None:
        self.assertEqual((PING_EVERY, PONG_WITHIN), (25, 20))
        for n in range(5):
            self.assertEqual(self.pings, n)
            self.pass_(25)
            self.heart.pong()
        self.assertEqual((self.pings, self.died), (5, 0))

    def test_a_process_that_was_stopped_has_read_no_pong(self) -> None:
        """All who had answered would be sent away at once. They answer the next ping, too."""
        self.pass_(25)
        self.clock.advance(PONG_WITHIN + STOOD_STILL + 1)
        self.assertEqual((self.pings, self.died), (1, 0))
        self.pass_(PONG_WITHIN)
        self.assertEqual((self.pings, self.died), (2, 0))
        self.pass_(PONG_WITHIN)
        self.assertEqual((self.pings, self.died), (2, 1))

    def test_pings_keep_their_time(self) -> None:
        """Between two there are not 25 seconds, what is left of the last one, and the time that the
        answer took."""
        self.clock.advance(0.25)
        either: Any = self.peer
        heart = Heartbeat(TimerWheel(self.clock), either, either, self.ping, self.dead)
        self.addCleanup(heart.stop)
        self.heart.stop()
        for _ in range(4 * (8 * 25 + 1)):
            before = self.pings
            self.clock.advance(0.25)
            if self.pings > before:
                self.clock.callLater(0.5, heart.pong)
        self.assertEqual((self.pings, self.died), (8, 0))

    def test_an_answer_that_was_not_asked_for(self) -> None:
        for _ in range(24):
            self.pass_(1)
            self.heart.pong()
        self.assertEqual(self.pings, 0)
        self.pass_(1)
        self.assertEqual(self.pings, 1)

    def test_no_pong_within_20_seconds(self) -> None:
        self.pass_(25 + 19)
        self.assertEqual((self.pings, self.died), (1, 0))
        self.pass_(2)
        self.assertEqual((self.pings, self.died), (1, 1))
        self.pass_(100)
        self.assertEqual(self.died, 1)

    def test_stopped(self) -> None:
        self.heart.stop()
        self.pass_(100)
        self.assertEqual((self.pings, self.died), (0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_does_not_read_but_lives(self) -> None:
        """Its kernel acknowledges; there is no use in a ping behind what it does not read."""
        self.peer.writable = False
        self.pass_(600)
        self.assertEqual((self.pings, self.died), (0, 0))
        self.peer.writable = True
        self.pass_(25)
        self.assertEqual(self.pings, 1)

    def test_who_does_not_read_and_is_gone(self) -> None:
        self.peer.writable = False
        self.peer.socket.unacked, self.peer.socket.last_ack = 3, SILENCE + 1
        self.pass_(PING_EVERY + 1)
        self.assertEqual((self.pings, self.died), (0, 1))

    def test_who_is_not_read_from(self) -> None:
        """Its pong may have come already, also where it was not read from for a while only."""
        self.peer.read(False)
        self.pass_(600)
        self.assertEqual(self.died, 0)
        self.peer.read(True)
        self.pass_(PONG_WITHIN)
        for _ in range(10):
            self.peer.read(False)
            self.pass_(PONG_WITHIN - 1)
            self.peer.read(True)
            self.pass_(1)
        self.assertEqual(self.died, 0)
        self.pass_(3 * PONG_WITHIN)
        self.assertEqual(self.died, 1)

    def test_who_is_not_read_from_and_is_gone(self) -> None:
        self.peer.read(False)
        self.peer.socket.unacked, self.peer.socket.last_ack = 3, SILENCE + 1
        self.pass_(PING_EVERY + PONG_WITHIN + 1)
        self.assertEqual((self.pings, self.died), (1, 1))


class SilentTests(SynchronousTestCase):
    def test_what_the_kernel_says(self) -> None:
        peer = Peer()
        for unacked, probes, last_ack, gone in (
            (0, 0, 0, False),
            (0, 0, 1000, False),
            (1, 0, SILENCE - 1, False),
            (1, 0, SILENCE + 1, True),
            # it did not read, and then its network went
            (0, 3, SILENCE - 1, False),
            (0, 1, 1000, False),
            (0, 2, SILENCE + 1, True),
        ):
            peer.socket.unacked, peer.socket.probes = unacked, probes
            peer.socket.last_ack = last_ack
            self.assertIs(silent(peer), gone)

    def test_a_transport_without_a_socket(self) -> None:
        self.assertFalse(silent(object()))

    def test_what_has_come_and_was_not_read(self) -> None:
        one, other = socket.socketpair()
        peer = Peer()
        self.patch(peer, "socket", other)
        with one, other:
            self.assertFalse(behind(peer))
            one.send(b"x")
            self.assertTrue(behind(peer))
            other.recv(1)
            self.assertFalse(behind(peer))
        self.assertFalse(behind(peer))
        self.assertFalse(behind(object()))

    def test_a_real_connection(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as client,
        ):
            peer = Peer()
            self.patch(peer, "socket", client)
            self.assertFalse(silent(peer))
