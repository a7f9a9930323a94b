"""A node that starts: who comes before it can serve waits, and is not refused."""

from __future__ import annotations

import json

from twisted.internet.defer import CancelledError, Deferred

from chatd.net.gate import PATIENCE
from tests.support.serving import Node, ServingTests
from tests.support.waiting import pause, until


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
