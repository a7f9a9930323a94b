"""A node that starts: who comes before it can serve waits, and is not refused."""

from __future__ import annotations

import json

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.net.gate import LOOK, PATIENCE, Gate
from chatd.timing.clock import NodeClock
from tests.support.serving import Node, ServingTests
from tests.support.waiting import pause, until


@define
class Port:
    """A port that listens."""

    connected: bool = True
    disconnecting: bool = False
    accepts: bool = True

    def stopReading(self) -> None:
        self.accepts = False

    def startReading(self) -> None:
        self.accepts = True


class OpeningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.ready = False
        self.gate = Gate(NodeClock(self.clock), lambda: self.ready)
        self.ports = [Port(), Port(), Port()]
        for port in self.ports:
            self.gate.hold(port)
        self.gate.startService()

    def accepts(self, seconds: float) -> list[bool]:
        """Which ports accept connections in ``seconds``."""
        self.clock.pump([LOOK] * round(seconds / LOOK))
        return [port.accepts for port in self.ports]

    def test_when_the_node_is_ready(self) -> None:
        self.assertEqual(self.accepts(PATIENCE - 1), [False] * 3)
        self.ready = True
        self.assertEqual(self.accepts(LOOK), [True] * 3)
        self.assertEqual((self.gate.is_open, self.clock.getDelayedCalls()), (True, []))
        late = Port()
        self.gate.hold(late)
        self.assertTrue(late.accepts)

    def test_when_it_takes_too_long(self) -> None:
        self.assertEqual(self.accepts(PATIENCE - 2 * LOOK), [False] * 3)
        self.assertEqual(self.accepts(4 * LOOK), [True] * 3)

    def test_ports_that_are_closed_meanwhile(self) -> None:
        self.ports[0].disconnecting = True
        self.ports[1].connected = False
        self.ready = True
        self.assertEqual(self.accepts(LOOK), [False, False, True])


class GateTests(ServingTests):
    def starting(self) -> tuple[Node, Deferred[None]]:
        """A node whose broker is away, and when it will have started."""
        node = Node()
        self.addCleanup(lambda: Deferred.fromCoroutine(node.stop()))
        node.service.broker.interrupt()
        return node, Deferred.fromCoroutine(node.start())

    async def test_who_comes_waits_for_the_directory(self) -> None:
        node, started = self.starting()
        joining = Deferred.fromCoroutine(node.chat("ann", "lobby"))
        reading = Deferred.fromCoroutine(node.get("/rooms/lobby"))
        node.clock.advance(PATIENCE - 0.5)
        await until(lambda: node.connections() == [])
        self.assertFalse(joining.called or reading.called)
        node.service.broker.resume()
        await started
        await joining
        self.assertEqual((await reading).status, 200)

    async def test_without_a_broker_it_is_said_in_time(self) -> None:
        node, started = self.starting()
        reading = Deferred.fromCoroutine(node.get("/readyz"))
        node.clock.advance(PATIENCE)
        answer = await reading
        said = {"status": "not ready", "why": "the broker is away"}
        self.assertEqual((answer.status, json.loads(answer.body)), (503, said))
        node.service.broker.resume()
        await started

    async def test_it_is_stopped_before(self) -> None:
        node, started = self.starting()
        reading = Deferred.fromCoroutine(node.get("/readyz"))
        await node.drain()
        node.clock.advance(PATIENCE)
        started.addErrback(lambda why: why.trap(CancelledError)).cancel()
        await self.assertFailure(reading, Exception)
        await pause(0.05)  # what was cancelled has another call to come
