"""Turns of the reactor in which many sockets have something to say."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from chatd.config.options import Options
from chatd.net.short_turns import IN_A_ROW, LONG, ShortTurns
from chatd.tap import makeService

#: More than are served in a turn, if each takes `TAKES` seconds.
MANY = 4 * IN_A_ROW
TAKES = LONG / IN_A_ROW


class Ready(FileDescriptor):
    """A socket that always has something to say."""

    def __init__(self, reactor: Any, test: ShortTurnsTests) -> None:
        super().__init__(reactor)
        self.socket, self._other = socket.socketpair()
        self._other.send(b"x")
        self._test = test
        self.startReading()

    def fileno(self) -> int:
        return self.socket.fileno()

    def doRead(self) -> None:
        self._test.served.append(self)
        self._test.now += self._test.takes

    def close(self) -> None:
        self.stopReading()
        self.socket.close()
        self._other.close()


class ShortTurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now, self.takes = 0.0, TAKES
        self.served: list[Ready] = []
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
        first, second = self.turn(), self.turn()
        self.assertEqual(len(first), 2 * IN_A_ROW)
        self.assertEqual({*first, *second}, set(sockets), "each in its turn")
        self.assertEqual(self.turn(), first)

    def test_all_are_served_in_one_turn_if_there_is_time(self) -> None:
        sockets = self.ready(MANY)
        self.takes = LONG / MANY / 2
        self.assertLessEqual(set(sockets), set(self.turn()))

    def test_few_are_served_as_ever(self) -> None:
        sockets = self.ready(IN_A_ROW - 1)
        self.takes = LONG
        self.assertEqual(set(self.turn()), set(sockets))
        self.assertEqual(self.now, LONG * len(sockets), "whatever they take, nobody waits")

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
        options = Options({})
        options.parseOptions(["--broker=memory:"])
        node: Any = makeService(options)
        self.assertIsInstance(node.getServiceNamed("short turns"), ShortTurns)
