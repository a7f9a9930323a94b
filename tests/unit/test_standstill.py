"""A process that was stopped for a while reads what has come before it does what has become due."""

from __future__ import annotations

import socket
import time
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

from chatd.timing.standstill import READ, Standstills
from chatd.timing.steady import STOOD_STILL, steady
from tests.support.serving import node_of_twistd


class Reader(FileDescriptor):
    """A socket to which something was written."""

    def __init__(self, reactor: Any, done: list[str]) -> None:
        super().__init__(reactor)
        self._socket, self._other = socket.socketpair()
        self._other.send(b"x")
        self._done = done
        self.startReading()

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        self._done.append("read")
        self._socket.recv(1)

    def close(self) -> None:
        self.stopReading()
        self._socket.close()
        self._other.close()


class StandstillTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.elapsed = 5000.0
        self.patch(time, "clock_gettime", lambda which: self.elapsed)
        self.done: list[str] = []
        self.reactor: Any = steady(EPollReactor())
        self.addCleanup(self.close)
        self.service = Standstills(self.reactor)
        self.service.startService()

    def close(self) -> None:
        """Close what a reactor that never ran leaves open."""
        self.reactor._poller.close()
        self.reactor.waker.connectionLost(None)

    def after(self, seconds: float, what: str) -> None:
        self.reactor.callLater(seconds, self.done.append, what)

    def turn(self, seconds: float = 0.0) -> list[str]:
        """What is done in a turn that begins ``seconds`` after the one before."""
        self.elapsed += seconds
        self.done.clear()
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(0)
        return list(self.done)

    def test_what_has_come_is_read_first(self) -> None:
        self.addCleanup(Reader(self.reactor, self.done).close)
        self.after(10, "late")
        self.assertEqual(self.turn(40), ["read"])
        self.assertEqual(self.turn(READ - 0.01), [])
        self.assertEqual(self.turn(0.01), ["late"])

    def test_it_is_done_in_the_order_in_which_it_was_due(self) -> None:
        names = [str(n) for n in range(20)]
        for n in reversed(range(20)):
            self.after(1 + n / 10, names[n])
        self.turn(40)
        self.assertEqual(self.turn(READ + 0.01), names)

    def test_what_must_not_be_put_off_is_done_first(self) -> None:
        self.addCleanup(Reader(self.reactor, self.done).close)
        self.service.on_standstill = lambda: self.done.append("at once")
        self.assertEqual(self.turn(40), ["at once", "read"])
        self.assertEqual(self.turn(1), [])

    def test_what_was_due_before_or_is_due_later_is_not_put_off(self) -> None:
        self.after(0, "before")
        self.after(41, "later")
        self.assertEqual(self.turn(40), ["before"])
        self.assertEqual(self.turn(1), ["later"])

    def test_what_is_begun_then_has_its_time(self) -> None:
        self.turn(40)
        self.after(10, "new")
        self.assertEqual([*self.turn(1), *self.turn(1)], [])

    def test_a_process_that_runs_puts_nothing_off(self) -> None:
        self.after(STOOD_STILL, "due")
        self.assertEqual(self.turn(STOOD_STILL), ["due"])
        self.assertEqual(self.service.count(), 0)

    def test_one_that_is_always_late_does_what_is_due(self) -> None:
        self.after(1, "due")
        turns = [self.turn(2 * STOOD_STILL) for _ in range(2)]
        self.assertEqual(turns, [[], ["due"]])

    def test_it_is_noticed_by_whoever_reads_the_clock_first(self) -> None:
        self.elapsed += 40
        self.reactor.seconds()
        self.assertEqual(self.service.count(), 1)
        self.after(0, "new")
        self.assertEqual(self.turn(), ["new"])
        self.assertEqual(self.service.count(), 1)
        self.elapsed += 40
        self.reactor.seconds()
        self.assertEqual(self.service.count(), 2)

    def test_stopped_it_leaves_the_reactor_as_it_was(self) -> None:
        self.service.stopService()
        self.assertNotIn("runUntilCurrent", vars(self.reactor))
        self.after(10, "late")
        self.assertEqual(self.turn(40), ["late"])


class NodeTests(SynchronousTestCase):
    def test_a_node_of_twistd_has_it(self) -> None:
        node = node_of_twistd()
        found = node.getServiceNamed("standstills")
        self.assertIsInstance(found, Standstills)
        self.assertEqual(node.chat.directory.sync.standstills, found.count)
        self.assertEqual(found.on_standstill, node.admission.standing.look)

    def test_publishes_go_by_it_where_there_are_other_nodes(self) -> None:
        node = node_of_twistd("--broker=amqp://127.0.0.1:1/")
        count = node.getServiceNamed("standstills").count
        self.assertEqual(node.chat.rooms.node.former_ids.standstills, count)
        alone = node_of_twistd()
        self.assertNotEqual(alone.chat.rooms.node.former_ids.standstills, count)
