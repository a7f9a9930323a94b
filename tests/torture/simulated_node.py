"""A whole node without sockets, as a process of its own on the simulated network."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatd.access.identity import Identity
from chatd.brokers.interfaces import Retention
from chatd.brokers.memory.broker import MemoryBroker
from chatd.protocol.errors import ChatError
from chatd.rooms.start_position import After, Since, Start
from chatd.service.domain import compose
from chatd.service.lifecycle import NodeService
from chatd.telemetry.metrics import Metrics
from chatd.timing.clock import NodeClock
from chatd.timing.wall import WallClock
from tests.torture.simulated_broker import SimulatedBroker
from tests.torture.simulated_network import (
    ProcessState,
    SimulatedClock,
    SimulatedTime,
    Wire,
)

#: Seconds that something takes on the network: usually, and one time in twenty.
USUAL, SLOW = 0.003, 0.3


class SimulatedNode:
    """Directory, rooms, presence and lifecycle of one node, behind a simulated broker. Its time of
    day is ``ahead`` (seconds) of the true one."""

    def __init__(
        self,
        name: str,
        time: SimulatedTime,
        network: SimulatedClock,
        hub: MemoryBroker,
        chance: Random,
        crashed: Any,
        retention: Retention,
        ahead: float,
    ) -> None:
        self.name = name
        self.network = network
        self.crashed: Callable[[Failure], None] = crashed
        self._chance = chance
        self.lines: dict[Any, None] = {}
        self.process = SimulatedClock(time)
        out, back = Wire(network, self._delay, _now), self._wire()
        self.broker = SimulatedBroker(self.process, network, hub, out, back)
        wall = WallClock(self.process, lambda: self.process.seconds() + ahead)
        self.domain = compose(self.process, self.broker, name, Metrics(), retention, wall=wall)
        self.chat = self.domain.chat
        self.service = NodeService(NodeClock(self.process), self.domain, ())

    def start(self) -> None:
        """Begin to serve."""
        self.broker.startService()
        self.service.startService()

    @property
    def running(self) -> bool:
        """Whether clients can connect."""
        return self.process.state is ProcessState.RUNNING

    @property
    def ended(self) -> bool:
        """Whether there is no such process any more."""
        return self.process.state is ProcessState.ENDED

    async def read_all(self, room: str, user: str) -> list[dict[str, Any]]:
        """All messages of a room, as ``user`` polls for them."""
        messages: list[dict[str, Any]] = []
        start: Start = Since(0)
        while True:
            answer = await self.chat.poll(Identity(user), room, start, 1000, 0)
            if answer.gap:
                messages = []  # removed while this was read
            messages += [json.loads(m.json) for m in answer.messages]
            if not answer.messages:
                return messages
            start = After(answer.cursor)

    def wires(self) -> tuple[Wire, Wire]:
        """A new connection with a client: to the node, and from it."""
        return self._wire(), Wire(self.network, self._delay, _now)

    def kill(self, delivered: bool) -> None:
        """SIGKILL; what is under way to the broker may be ``delivered``."""
        self.process.end()
        self.broker.out.cut(delivered)
        self.broker.back.cut()
        self.broker.hub.stopService()
        for line in list(self.lines):
            line.cut()

    def stop(self) -> None:
        """SIGTERM, without the time that a drain takes."""
        self.chat.draining = True
        for line in list(self.lines):
            line.cut()
        self.service.stopService()
        self.broker.stopService()
        self.kill(delivered=True)

    def _wire(self) -> Wire:
        return Wire(self.network, self._delay, self.process.take)

    def _delay(self) -> float:
        return self._chance.uniform(0, SLOW if self._chance.random() < 0.05 else USUAL)


def attempt(
    crashed: Callable[[Failure], None], work: Coroutine[Any, Any, Any], then: Callable[[bool], Any]
) -> None:
    """Change the directory by ``work``; ``then`` is told whether that was confirmed."""

    def refused(failure: Failure) -> None:
        failure.trap(ChatError)
        then(False)

    doing = Deferred.fromCoroutine(work)
    doing.addCallbacks(lambda _: then(True), refused)
    doing.addErrback(crashed)


def _now(call: Callable[[], Any]) -> None:
    call()
