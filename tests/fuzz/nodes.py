"""What nodes, and whoever writes to their broker, tell each other: directory and presence."""

from __future__ import annotations

from itertools import count

from twisted.internet.task import Clock

from chatd.access.identity import Identity
from chatd.brokers.interfaces import Record, Retention
from chatd.brokers.memory.broker import MemoryBroker
from chatd.presence.board import PresenceBoard
from chatd.presence.replication import PresenceReplication
from chatd.service.domain import compose
from chatd.telemetry.metrics import Metrics

EVENTS = (
    b'{"op":"create","room":"hall","epoch":"e1","private":true,"time":1800000000000,"event":"a"}',
    b'{"op":"add_member","room":"hall","user":"ann"}',
    b'{"op":"renew","room":"hall","old":"e1","epoch":"e2"}',
    b'{"op":"restore","life":"l1","event":"b"}',
    b'{"op":"delete","room":"hall","epoch":"e1"}',
    b'{"op":"probe","node":"a"}',
)
PAYLOADS = (
    b'{"node":"a","n":1,"kind":"snapshot","part":0,"of":1,"rooms":{"hall":["ann","bob"]}}',
    b'{"node":"a","n":2,"kind":"changes","changes":[["hall","ann",false,true]]}',
    b'{"node":"a","n":2,"kind":"typing","typing":[["hall","ann"]]}',
    b'{"node":"a","n":2,"kind":"ask","of":"me"}',
    b'{"node":"a","n":2,"kind":"bye"}',
    b'{"node":"a","n":2,"kind":"beat"}',
)
#: Inputs after which there is a new node.
LIFE = 500


class _Fuzzed:
    """A node that is made anew after a while."""

    def __init__(self) -> None:
        self._number = count()

    def make(self) -> None:
        """Make it, if it is time to."""
        if next(self._number) % LIFE:
            return
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        broker = MemoryBroker(self.clock)
        broker.startService()
        self.domain = compose(self.clock, broker, "me", Metrics(), Retention())
        self.domain.directory.start()
        self.clock.advance(0)
        board = PresenceBoard(self.clock, "me")
        self.replication = PresenceReplication(board, broker, self.clock)
        self.offsets = count()


_NODE = _Fuzzed()


def directory(data: bytes) -> None:
    """A record of the directory's stream; the rooms that it makes can be asked for."""
    _NODE.make()
    domain = _NODE.domain
    domain.directory.stream.records([Record(next(_NODE.offsets), data)])
    for entry in list(domain.directory):
        domain.chat.entry(Identity("ann", rooms=("*",)), entry.name)
    _NODE.clock.advance(0.1)


def presence(data: bytes) -> None:
    """What another node broadcasts."""
    _NODE.make()
    _NODE.replication.received(data)
    _NODE.clock.advance(0.1)
