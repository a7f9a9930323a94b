"""Detecting a partition of the nodes: their fan-out can split, or lose a queue, silently.

There are three signs. A node receives its own broadcasts, too; if they stop coming, the broker does
not route them to the queue that the node listens on. A node that misses another appends a probe
with its own name to the directory (`chatd.directory.readiness`), which reaches every node that can
reach a majority of the broker's nodes; a node that shows up there and is not heard is on the other
side of a split. And each sign of life says whom its node hears: who is left out by more than half
of the others is heard by few, although it may hear all.

Such a node, and those on the smaller side, reconnect to another host of the broker, if there is one
(`chatd.amqp.hosts`), until all are on the same side; those on the larger side stay. Who misses
another, or is not heard by one, goes on showing itself, and who goes on missing one that does so
or is named by others moves to where all meet, too: a lost direction has no smaller side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker

#: Seconds without our own broadcasts, one every 5 s, after which a node does not hear; and seconds
#: within which another node must be heard after its probe.
DEAF, UNHEARD = 11.0, 6.0
#: Seconds between two reconnections, at first and at most; seconds without one after which the
#: back-off begins anew. A split that ends is to be over for us soon after.
AGAIN, SLOWEST, FORGOTTEN = 12.0, 20.0, 300.0
#: Seconds for which a probe counts.
STALE = 60.0
#: Nodes that are kept track of here.
MOST = 1000
#: Seconds between two checks from which on this process must have been suspended in between.
STOOD_STILL = 5.0

#: Two times, in the clock's seconds.
Span = tuple[float, float]


@define(eq=False)
class PartitionDetector:
    """Reconnects the broker if ``node`` hears neither itself nor the majority of the others."""

    node: str
    broker: IBroker
    clock: IReactorTime
    #: Appends a probe of this node to the directory.
    probe: Callable[[], None]
    #: When our own broadcast last came, or the broker was away (the clock's seconds).
    _self_heard: float = field(init=False)
    _checked: float = field(init=False)
    #: Nodes that appended a probe and were not heard since: when they did first, and when last.
    _unheard: dict[str, Span] = field(factory=dict, init=False)
    #: Nodes that others say they hear, and this one does not: when they said so first, and last.
    #: They may have just died.
    _named: dict[str, Span] = field(factory=dict, init=False)
    #: When this node last showed itself to one that it does not hear.
    _probed: float = field(default=float("-inf"), init=False)
    #: Nodes that are heard and do not hear this one, and since when they say so.
    _unheard_by: dict[str, float] = field(factory=dict, init=False)
    _tried: float = field(default=float("-inf"), init=False)
    _patience: float = field(default=AGAIN, init=False)

    def __attrs_post_init__(self) -> None:
        self._self_heard = self._checked = self.clock.seconds()

    def heard(self, node: str) -> None:
        """A broadcast of ``node``, which may be this one, has come."""
        if node == self.node:
            self._self_heard = self.clock.seconds()
        self._unheard.pop(node, None)
        self._named.pop(node, None)

    def shown(self, node: str) -> None:
        """A probe of ``node`` was read from the directory."""
        self._note(node, self._unheard)

    def named(self, node: str) -> None:
        """Another node says that it hears ``node``, which this one does not."""
        self._note(node, self._named)

    def _note(self, node: str, spans: dict[str, Span]) -> None:
        if node != self.node and (node in spans or len(spans) < MOST):
            now = self.clock.seconds()
            spans[node] = (spans.get(node, (now, now))[0], now)

    def told(self, node: str, hears: Collection[str] | None) -> None:
        """A sign of life of ``node`` has come, by which it ``hears`` these; None if it is not
        connected to where it would hear."""
        if hears is None or self.node in hears:
            self._unheard_by.pop(node, None)
        else:
            self._unheard_by.setdefault(node, self.clock.seconds())

    def check(self, peers: Collection[str]) -> None:
        """To be called about every second. ``peers`` are the other nodes that are not dropped."""
        now = self.clock.seconds()
        stood_still = now - self._checked > STOOD_STILL
        self._checked = now
        if stood_still or not self.broker.ready:
            self._self_heard = now  # nothing could come back
            self._unheard_by.clear()
        if not self.broker.ready:
            self._miss_anew(now)  # nor could others be, who have shown themselves
        self._forget(peers, now)
        self._show(now)
        if now - self._tried < self._patience:
            return
        again = now - self._tried <= FORGOTTEN
        if why := self._must_move(peers, now):
            self._reconnect(why, now, again)
        elif self._misses_for_long():
            # where it is should do, but it does not: who is alone goes where all meet
            self._miss_anew(now)
            self._reconnect("a node that lives is not heard", now, again=False)

    def _forget(self, peers: Collection[str], now: float) -> None:
        for spans in (self._unheard, self._named):
            for node in [node for node, (_, last) in spans.items() if now - last >= STALE]:
                del spans[node]
        self._unheard_by = {node: at for node, at in self._unheard_by.items() if node in peers}

    def _show(self, now: float) -> None:
        """Let those know who may be the ones to move, whatever this node does."""
        if now - self._probed > SLOWEST and (self._missing(now) or self._left_out_by(now)):
            self._probed = now
            self.probe()

    def _reconnect(self, why: str, now: float, again: bool) -> None:
        often = now - self._tried <= FORGOTTEN
        self._patience = min(SLOWEST, 2 * self._patience) if often else AGAIN
        self._tried = self._self_heard = now
        self._unheard_by.clear()
        self.broker.reconnect(why, again)

    def _must_move(self, peers: Collection[str], now: float) -> str | None:
        if now - self._self_heard > DEAF:
            return "what this node broadcasts does not come back"
        if self._on_the_smaller_side(peers, now):
            return "other nodes are not heard, and they are more"
        if 2 * len(self._left_out_by(now)) > len(peers):
            return "most other nodes do not hear this one"
        return None

    def _missing(self, now: float) -> list[str]:
        return [node for node, (first, _) in self._unheard.items() if now - first >= UNHEARD]

    def _misses_for_long(self) -> bool:
        spans = (*self._unheard.values(), *self._named.values())
        return any(last - first > SLOWEST for first, last in spans)

    def _miss_anew(self, now: float) -> None:
        """Who has shown itself so far is to be heard from now on, and else shows it once more, for
        as long; the others may have died since."""
        for spans in (self._unheard, self._named):
            spans.update({node: (now, last) for node, (_, last) in spans.items()})

    def _left_out_by(self, now: float) -> list[str]:
        return [node for node, at in self._unheard_by.items() if now - at > DEAF]

    def _on_the_smaller_side(self, peers: Collection[str], now: float) -> bool:
        missing = self._missing(now)
        if not missing:
            return False
        here = [self.node, *(peer for peer in peers if peer not in missing)]
        # of two sides of the same size, exactly one must reconnect
        return (len(here), min(missing)) < (len(missing), min(here))
