"""Nodes on a broker that stays split end up where they all hear each other."""

from __future__ import annotations

import random
from functools import partial
from typing import cast

import pytest
from attrs import define, field
from twisted.internet.task import Clock

from chatd.amqp.hosts import Hosts
from chatd.brokers.interfaces import IBroker
from chatd.presence.partition import PartitionDetector
from chatd.presence.replication import BEAT, LISTEN, LOOK, MISSED, SILENCE

#: Which host's broadcasts reach which other host, of three; each reaches itself.
Ways = frozenset[tuple[int, int]]
APART: Ways = frozenset()
LARGER_LAST: Ways = frozenset({(1, 2), (2, 1)})
LARGER_FIRST: Ways = frozenset({(0, 1), (1, 0)})
HEARD_BY_NOBODY: Ways = frozenset({(1, 0), (2, 0), (1, 2), (2, 1)})
IN_A_RING: Ways = frozenset({(0, 1), (1, 2), (2, 0)})
IN_A_CHAIN: Ways = frozenset({(0, 1), (1, 0), (1, 2), (2, 1)})
ALL_BUT_ONE: Ways = frozenset({(0, 1), (1, 0), (0, 2), (2, 0), (1, 2)})
EVERYWHERE: Ways = frozenset((one, other) for one in range(3) for other in range(3))
ONE_WAY = (HEARD_BY_NOBODY, IN_A_RING, IN_A_CHAIN, ALL_BUT_ONE)


@define(eq=False)
class Node:
    """What `chatd.presence.replication` and a broker do for `PartitionDetector`."""

    name: str
    site: Site
    hosts: Hosts
    ready: bool = True
    heard: dict[str, float] = field(factory=dict)
    missed: set[str] = field(factory=set)
    hearing: PartitionDetector = field(init=False)

    def __attrs_post_init__(self) -> None:
        broker, probe = cast(IBroker, self), partial(self.site.probe, self.name)
        self.hearing = PartitionDetector(self.name, broker, self.site.clock, probe)
        self.site.clock.callLater(random.uniform(0, BEAT), self.beat)
        self.site.clock.callLater(random.uniform(0, LOOK), self.look)

    def reconnect(self, why: str, again: bool) -> None:
        self.site.forgotten = {pair for pair in self.site.forgotten if pair[1] is not self}
        before = self.hosts.present
        self.hosts.meet(again)
        if self.hosts.must_leave(before):
            self.ready = False
            self.site.clock.callLater(random.uniform(0.3, 2), self.connected)

    def connected(self) -> None:
        self.ready = True
        self.site.probe(self.name)

    def beat(self) -> None:
        self.site.clock.callLater(BEAT, self.beat)
        if self.ready:
            self.site.broadcast(self, self.heard.keys() - self.missed)

    def look(self) -> None:
        self.site.clock.callLater(LOOK, self.look)
        now = self.site.clock.seconds()
        for name, at in list(self.heard.items()):
            if not self.ready:
                self.heard[name] = min(now, max(at + LOOK, now - (SILENCE - LISTEN)))
            elif now - at > SILENCE:
                del self.heard[name]
                self.missed.discard(name)
        for name in {n for n, at in self.heard.items() if now - at > MISSED} - self.missed:
            self.missed.add(name)
            self.site.probe(self.name)
        self.hearing.check(self.heard)

    def receive(self, name: str, hears: set[str]) -> None:
        self.hearing.heard(name)
        if name != self.name:
            self.heard[name] = self.site.clock.seconds()
            self.missed.discard(name)
            self.hearing.told(name, hears)
            for other in hears - (self.heard.keys() - self.missed):
                self.hearing.named(other)


class Site:
    """Nodes of chatd, one on each of three hosts unless there are fewer; all hear each other at
    first, and from then on as ``ways`` says."""

    def __init__(self, ways: Ways, nodes: int, tried: bool) -> None:
        self.clock, self.ways = Clock(), ways
        #: Hosts, and nodes whose queues they have forgotten.
        self.forgotten: set[tuple[int, Node]] = set()
        self.clock.advance(1e6)
        where = random.sample(range(3), 3)
        self.nodes = [Node(f"n{i}", self, Hosts(3, present=where[i % 3])) for i in range(nodes)]
        for node in self.nodes:
            node.heard = {o.name: self.clock.seconds() for o in self.nodes if o is not node}
            if tried and random.random() < 0.7:  # an attempt did not help, a moment ago
                node.hearing._tried = self.clock.seconds() - random.uniform(0, 20)

    def reaches(self, one: Node, other: Node) -> bool:
        way = one.hosts.present, other.hosts.present
        if (one.hosts.present, other) in self.forgotten:
            return False
        return one.ready and other.ready and (way[0] == way[1] or way in self.ways)

    def broadcast(self, sender: Node, hears: set[str]) -> None:
        for node in self.nodes:
            if self.reaches(sender, node):
                node.receive(sender.name, hears)

    def probe(self, name: str) -> None:
        """Streams work on both sides of a split."""
        for node in self.nodes:
            if node.ready:
                self.clock.callLater(0.2, node.hearing.shown, name)

    def seconds_until_whole(self) -> int:
        for second in range(600):
            if all(self.reaches(one, other) for one in self.nodes for other in self.nodes):
                return second
            self.clock.advance(1)
        raise AssertionError([node.hosts.present for node in self.nodes])


@pytest.mark.parametrize(
    ("ways", "nodes"),
    [
        *((ways, nodes) for ways in (APART, LARGER_FIRST, LARGER_LAST) for nodes in (2, 3, 6)),
        *((ways, nodes) for ways in ONE_WAY for nodes in (3, 6)),
    ],
)
def test_they_meet_within_two_minutes(ways: Ways, nodes: int) -> None:
    for seed in range(20):
        random.seed(seed)
        assert Site(ways, nodes, tried=False).seconds_until_whole() <= 120


@pytest.mark.parametrize("ways", [APART, HEARD_BY_NOBODY], ids=["apart", "heard by nobody"])
def test_however_often_it_did_not_help_they_meet(ways: Ways) -> None:
    for seed in range(20):
        random.seed(seed)
        Site(ways, 3, tried=True).seconds_until_whole()


@pytest.mark.parametrize("host", [0, 1, 2])
def test_a_queue_that_a_host_has_forgotten(host: int) -> None:
    """No node need move, or all may be on one host already: one listens anew."""
    for seed in range(20):
        random.seed(seed)
        site = Site(EVERYWHERE, 3, tried=False)
        [there, other, _] = sorted(site.nodes, key=lambda node: node.hosts.present != host)
        site.forgotten = {(host, other)}
        assert not site.reaches(there, other)
        assert site.seconds_until_whole() <= 60
