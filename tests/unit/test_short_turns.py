"""Turns of the reactor in which many sockets have something to say."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from chatd.net.short_turns import LONG, ShortTurns
from tests.support.serving import node_of_twistd

#: Sockets, and how many of them are served in a turn.
MANY, FEW = 100, 10


class Ready(FileDescriptor):
    """A socket that always has something to say."""

    def __init__(self, reactor: Any, test: ShortTurnsTests) -> None:
        super().__init__(reactor)
        self.socket, self._other = socket.socketpair()
        self._other.send(b"x")
        self._test = test
        self.number = self.fileno()
        self.startReading()

    def fileno(self) -> int:
        return self.socket.fileno()

    def doRead(self) -> None:
        self._test.served.append(self)
        self._test.now += self._test.takes

    doWrite = doRead

    def connectionLost(self, reason: Any) -> None:
        self._test.lost.append(self)

    def close(self) -> None:
        self.stopReading()
        self.stopWriting()
        self.socket.close()
        self._other.close()


class ShortTurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now, self.takes = 0.0, LONG / FEW
        self.served: list[Ready] = []
        self.lost: list[Ready] = []
        self.reactor = EPollReactor()
        self.addCleanup(self.close)
        self.service = ShortTurns(self.reactor, lambda: self.now)
        self.service.startService()

    def close(self) -> None:
        """Close what a reactor that never ran leaves open."""
        if self.service.running:
            self.service.stopService()
        self.reactor._poller.close()
        self.reactor.waker.connectionLost(None)

    def ready(self, count: int) -> list[Ready]:
        sockets = [Ready(self.reactor, self) for _ in range(count)]
        for one in sockets:
            self.addCleanup(one.close)
        return sockets

    def turn(self) -> list[Ready]:
        """Those that are served in the next turn."""
        self.served = []
        self.reactor.doIteration(0)
        return self.served

    def test_a_turn_of_many_ends_in_time_and_the_next_goes_on_with_the_others(self) -> None:
        sockets = self.ready(MANY)
        first = self.turn()
        self.assertEqual(len(first), FEW)
        others = [one for _ in range(MANY // FEW - 1) for one in self.turn()]
        self.assertEqual({*first, *others}, set(sockets))
        self.assertEqual(len(first + others), MANY, "each once")

    def test_all_are_served_in_one_turn_if_there_is_time(self) -> None:
        sockets = self.ready(MANY)
        self.takes = LONG / MANY / 2
        served = self.turn()
        self.assertEqual((len(served), set(served)), (MANY, set(sockets)))

    def test_who_does_not_wait_any_more_is_not_served(self) -> None:
        """Whose turn has not come yet, and who is closed or is not read from meanwhile."""
        sockets = self.ready(2 * FEW)
        first = self.turn()
        left = [one for one in sockets if one not in first]
        for one in left[:5]:
            one.close()
        for one in left[5:]:
            one.stopReading()
            one.startWriting()
        again = self.ready(5)  # which have the numbers of those that are closed
        self.assertEqual({one.fileno() for one in again}, {one.number for one in left[:5]})
        self.takes = 0.0
        served = self.turn()
        self.assertEqual(self.lost, [], "closed twice")
        self.assertFalse({*left[:5]} & {*served})
        self.assertTrue({*left[5:], *again} <= {*served})
        for one in left[5:] + again:
            self.assertEqual(served.count(one), 1)

    def test_a_turn_waits_for_a_socket(self) -> None:
        one, *_ = self.ready(1)
        self.reactor.callLater(0, one.stopReading)
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(0.001)
        self.assertEqual(self.served, [])
        one.startReading()
        self.reactor.doIteration(None)
        self.assertEqual(self.served, [one])

    def test_a_fault_in_what_a_socket_does_is_logged_and_the_others_are_served(self) -> None:
        sockets = self.ready(3)

        def fail(reason: object) -> None:
            raise RuntimeError("in its end")

        for one in sockets[:2]:  # one in its turn, one of those that were left
            self.patch(one, "connectionLost", fail)
            self.patch(one, "doRead", lambda: CONNECTION_DONE)
        self.takes = LONG
        served = self.turn() + self.turn() + self.turn()
        self.assertEqual({*served}, {sockets[2]})
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_the_reactor_does_as_it_did_after_the_end(self) -> None:
        self.ready(MANY)
        self.service.stopService()
        self.assertEqual(len(self.turn()), MANY)
        self.assertNotIn("doIteration", vars(self.reactor))

    def test_another_kind_of_reactor_is_left_as_it_is(self) -> None:
        reactor = SelectReactor()
        self.addCleanup(reactor.waker.connectionLost, None)
        service = ShortTurns(reactor)
        service.startService()
        self.assertNotIn("doIteration", vars(reactor))
        service.stopService()

    def test_a_node_of_twistd_has_it(self) -> None:
        node = node_of_twistd()
        self.assertIsInstance(node.getServiceNamed("short turns"), ShortTurns)
