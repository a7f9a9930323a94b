"""Deterministic simulation: whole nodes, a broker, a network and clients in one seeded schedule.

A schedule is a list of `Step`; running it a second time does the same once more. Nothing is real
but chatd's own code: `simulated_network` is time, processes and wires, `simulated_broker` what a
node has of a broker, `simulated_clients` who talks. What clients saw goes to the same checker as
that of real processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from chatd.brokers.interfaces import Retention
from chatd.brokers.memory.broker import MemoryBroker
from tests.torture.checker import check
from tests.torture.history import Recorder
from tests.torture.simulated_broker import AppendFault
from tests.torture.simulated_clients import SimulatedReader, SimulatedWriter
from tests.torture.simulated_network import BEGINNING, SimulatedClock, SimulatedTime
from tests.torture.simulated_node import SimulatedNode
from tests.torture.simulated_rooms import (
    PRIVATE,
    PUBLIC,
    Administration,
    draw_retention,
    note_records,
)
from tests.torture.simulated_schedule import Step

NODES = 3
#: Seconds within which all is level again once nothing is broken any more: a probe of readiness,
#: presence that was not heard of, a retry of each kind.
LEVEL = 60
#: Seconds within which all nodes show what one of them acknowledged, if nothing is broken.
ELSEWHERE = 2
APPENDS = tuple(AppendFault)
#: Seconds by which a node's time of day may be wrong, where retention is longer than a schedule.
CLOCKS = (0, 0, 0, 40, 3600, 3 * 3600, -3600, -3 * 3600)
#: Steps that are `Administration`'s.
ADMINISTERED = ("delete_room", "vanish", "member")


class Simulation:
    """One run of one schedule."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(f"network-{seed}")
        self.clocks = Random(f"clocks-{seed}")
        self.time = SimulatedTime()
        self.network = SimulatedClock(self.time)
        self.recorder = Recorder(now=self._now)
        self.note = self.recorder.note
        self.wrong: list[str] = []
        self.retention = draw_retention(seed)
        self.hub = MemoryBroker(self.network, self.retention)
        self.hub.startService()
        note_records(self.hub, self.note)
        self.administration = Administration(
            self.hub, self.time, self.network, self.pick, self.note, self.crashed
        )
        if self.retention is not None:
            self.note("retention", age=self.retention.age, size=self.retention.size)
        self._started = 0
        self.nodes = [self._start() for _ in range(NODES)]
        self.writers: list[SimulatedWriter] = []
        self.readers: list[SimulatedReader] = []
        self._settle(5)
        self._make_rooms()
        for room in (PUBLIC, PRIVATE):
            for n in range(2):
                name = f"{room}-writer{n}"
                self.writers.append(SimulatedWriter(name, room, self.pick, self.note))
                reader = SimulatedReader(f"{room}-reader{n}", room, self.pick, self.note)
                self.readers.append(reader)
        self.stranger = SimulatedReader("stranger", PRIVATE, self.pick, self.note)
        self.note("stranger", reader="stranger", room=PRIVATE)
        for n, client in enumerate([*self.readers, self.stranger]):
            client.node = n
            client.connect()

    def _now(self) -> float:
        """Seconds; no two events happen at the same time."""
        return self.time.now - BEGINNING + 1e-6 * len(self.recorder.events)

    def _start(self) -> SimulatedNode:
        name = f"node-{self._started}"
        self._started += 1
        hub = self.hub.peer()
        chance = Random(self.chance.random())
        default = Retention()
        kept = self.retention or default
        ahead = self.clocks.choice(CLOCKS) if kept.age == default.age else 0
        node = SimulatedNode(
            name,
            self.time,
            self.network,
            hub,
            chance,
            self.crashed,
            kept,
            ahead,
        )
        node.start()
        return node

    def crashed(self, failure: Failure) -> None:
        """An error that nobody should see."""
        self.wrong.append(f"crashed: {failure.getTraceback()}")

    def pick(self, number: int) -> SimulatedNode:
        """The node of this number, or the next that runs; a frozen one if there is no other."""
        order = [self.nodes[(number + n) % NODES] for n in range(NODES)]
        return min(order, key=lambda node: (node.ended, not node.running))

    def node(self, number: int) -> SimulatedNode:
        """The node of this number, whatever its state."""
        return self.nodes[number % NODES]

    # -- running -----------------------------------------------------------------------------------

    def run(self, steps: Sequence[Step]) -> list[str]:
        """Do all steps, mend everything, and judge; what is wrong."""
        observer: Any = self._observe
        globalLogPublisher.addObserver(observer)
        try:
            for step in steps:
                self._do(step)
                self.time.advance(step.ms / 1000)
            self._finish()
        finally:
            globalLogPublisher.removeObserver(observer)
        return self.wrong + check(self.recorder.events)

    def _do(self, step: Step) -> None:
        if step.what in ADMINISTERED:
            getattr(self.administration, step.what)(step.a, step.b)
        else:
            getattr(self, f"_{step.what}")(step.a, step.b)

    def _observe(self, event: Any) -> None:
        if event.get("log_level") is LogLevel.critical:
            failure = event.get("log_failure")
            self.wrong.append(f"crashed: {failure.getTraceback() if failure else event}")

    def _settle(self, seconds: int, done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until ``done``; whether it was within ``seconds``."""
        for _ in range(seconds):
            if done():
                return True
            self.time.advance(1)
        return done()

    def _make_rooms(self) -> None:
        """Have the rooms made, and their members, on whatever node can."""
        made: list[bool] = []
        self.administration.make_rooms(made.append)
        if not self._settle(LEVEL, lambda: bool(made)) or not made[0]:
            self.wrong.append(f"rooms: not made within {LEVEL} s")

    # -- steps: clients ----------------------------------------------------------------------------

    def _pause(self, a: int, b: int) -> None: ...

    def _say(self, a: int, b: int) -> None:
        self.writers[a % len(self.writers)].say(1 + b % 4)

    def _move(self, a: int, b: int) -> None:
        clients = [*self.readers, *self.writers, self.stranger]
        clients[a % len(clients)].move(b)

    def _poll(self, a: int, b: int) -> None:
        reader = [*self.readers, self.stranger][a % (len(self.readers) + 1)]
        reader.leave()
        reader.polls = not reader.polls
        reader.connect()

    def _stall(self, a: int, b: int) -> None:
        """A client does not read for a while."""
        line = self.readers[a % len(self.readers)].line
        if line is not None and not line.down.stalled:
            line.down.stalled = True
            self.network.callLater(b % 15, line.down.flow)

    def _cut(self, a: int, b: int) -> None:
        clients = [*self.readers, *self.writers]
        line = clients[a % len(clients)].line
        if line is not None:
            line.cut()

    # -- steps: the broker -------------------------------------------------------------------------

    def _append_faults(self, a: int, b: int) -> None:
        fault = APPENDS[b % len(APPENDS)]
        self.node(a).broker.faults.extend([fault] * (1 + b // 64 % 3))

    def _disconnect(self, a: int, b: int) -> None:
        node = self.node(a)
        node.process.take(lambda: node.broker.disconnect(delivered=bool(b % 2)))
        self.network.callLater(b // 2 % 12 + 0.5, node.process.take, lambda: node.broker.connect())

    def _lose_sight(self, a: int, b: int) -> None:
        self.node(a).broker.lose_sight()

    def _wire_stalls(self, a: int, b: int) -> None:
        broker = self.node(a).broker
        wire = broker.out if b % 2 else broker.back
        if not wire.stalled:
            wire.stalled = True
            self.network.callLater(b // 2 % 16, wire.flow)

    def _questions_fail(self, a: int, b: int) -> None:
        self.node(a).broker.failing += 1 + b % 3

    def _not_broadcast(self, a: int, b: int) -> None:
        self.node(a).broker.unheard += 1 + b % 4

    # -- steps: processes --------------------------------------------------------------------------

    def _freeze(self, a: int, b: int) -> None:
        process = self.node(a).process
        process.freeze()
        self.network.callLater(b % 30, process.thaw)

    def _kill(self, a: int, b: int) -> None:
        self._end(a, b, lambda node: node.kill(delivered=bool(b % 2)))

    def _restart(self, a: int, b: int) -> None:
        self._end(a, b, lambda node: node.stop())

    def _end(self, a: int, b: int, how: Callable[[SimulatedNode], None]) -> None:
        node = self.node(a)
        others = [one for one in self.nodes if one is not node and one.running]
        if node.running and others:
            how(node)
            self.network.callLater(b // 2 % 10, self._replace, node)

    def _replace(self, node: SimulatedNode) -> None:
        if node in self.nodes:
            self.nodes[self.nodes.index(node)] = self._start()

    # -- the end -----------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Mend everything, wait until all is level, and look."""
        self._mend()
        self._settle(LEVEL)
        self._make_rooms()
        for client in [*self.writers, *self.readers]:
            if client.line is None:
                client.connect()
        if not self._settle(LEVEL, lambda: not any(w.pending for w in self.writers)):
            self.wrong += [f"unanswered: {w.name} {w.pending}" for w in self.writers if w.pending]
        self._settle(ELSEWHERE)
        ends = [self._fetch(node) for node in self.nodes]
        self._settle(
            LEVEL, lambda: all(r.cursor == end.get(r.room) for r in self.readers for end in ends)
        )
        for reader in self.readers:
            self.note("reached", reader=reader.name, room=reader.room)
        self._look_at_presence()

    def _mend(self) -> None:
        for node in list(self.nodes):
            node.process.thaw()
            if node.ended:
                self._replace(node)
        for node in self.nodes:
            node.broker.mend()
        for client in [*self.readers, *self.writers, self.stranger]:
            if client.line is not None:
                client.line.down.flow()

    def _fetch(self, node: SimulatedNode) -> dict[str, str]:
        """Note all that a node has of the rooms; the cursor of each room's last message."""
        ends = {}
        for room in (PUBLIC, PRIVATE):
            began = self._now()
            outcome: list[Any] = []
            Deferred.fromCoroutine(node.read_all(room, f"{room}-reader0")).addBoth(outcome.append)
            self._settle(LEVEL, partial(bool, outcome))
            if not outcome or isinstance(outcome[0], Failure):
                self.wrong.append(f"unreadable: {room} on {node.name}: {outcome}")
                continue
            messages = outcome[0]
            about = {"node": node.name, "room": room, "began": began}
            self.note("fetch", **about, messages=messages, level=True)
            if messages:
                ends[room] = messages[-1]["cursor"]
        return ends

    def _look_at_presence(self) -> None:
        self._settle(5)
        for room in (PUBLIC, PRIVATE):
            here = {
                line.user
                for node in self.nodes
                for line in node.lines
                if room in line.session.joined
            }
            for node in self.nodes:
                members = node.chat.presence.members(room).names
                about = {"node": node.name, "room": room, "members": members}
                self.note("present", **about, expected=sorted(here))
