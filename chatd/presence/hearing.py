"""Whether a node hears the others, and is heard: a fan-out may be split, or lose a queue, without a
word to anyone.

Two signs tell. A node hears its own signs of life; if they no longer come, the broker routes what
it sends past the queue it listens on. And a node that misses another writes its own name in the
directory's stream (`chatd.directory.readiness`), which reaches all who can reach a majority of the
broker's nodes; whoever shows up there and is not heard is on the other side of a split. Then those
on the smaller side connect anew, elsewhere if the broker has other addresses, until all are on one.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker

#: Seconds without our own signs of life (one is sent every 5 s), and for which a node that shows up
#: elsewhere may be unheard.
DEAF, UNHEARD = 11.0, 6.0
#: Seconds between two attempts to be heard, at first and at most, and after which the next is the
#: first again.
AGAIN, SLOWEST, FORGOTTEN = 12.0, 96.0, 300.0
#: Seconds after which what showed up elsewhere is no longer believed to be there.
STALE = 60.0
#: Seconds between two checks that tell that this process itself stood still.
STOOD_STILL = 5.0


@define(eq=False)
class Hearing:
    """What ``node`` hears of itself and of others."""

    node: str
    broker: IBroker
    clock: IReactorTime
    #: When our own broadcast last came, or could not be expected to.
    _self_heard: float = field(init=False)
    _checked: float = field(init=False)
    #: Nodes that showed up in the directory and were not heard since, and when they did.
    _unheard: dict[str, float] = field(factory=dict, init=False)
    _tried: float = field(default=float("-inf"), init=False)
    _patience: float = field(default=AGAIN, init=False)

    def __attrs_post_init__(self) -> None:
        self._self_heard = self._checked = self.clock.seconds()

    def heard(self, node: str) -> None:
        """A broadcast of ``node``, which may be our own, has come."""
        if node == self.node:
            self._self_heard = self.clock.seconds()
        self._unheard.pop(node, None)

    def shown(self, node: str) -> None:
        """``node`` showed up in the directory."""
        if node != self.node:
            self._unheard.setdefault(node, self.clock.seconds())

    def check(self, peers: Collection[str]) -> None:
        """To be called every second or so; ``peers`` are the nodes believed to live."""
        now = self.clock.seconds()
        stood_still = now - self._checked > STOOD_STILL
        self._checked = now
        if stood_still or not self.broker.ready:
            self._self_heard = now  # nothing could come back
        self._unheard = {node: at for node, at in self._unheard.items() if now - at < STALE}
        if now - self._tried < self._patience:
            return
        deaf = now - self._self_heard > DEAF
        if deaf or self._on_the_smaller_side(peers, now):
            fresh = now - self._tried > FORGOTTEN
            self._patience = AGAIN if fresh else min(SLOWEST, 2 * self._patience)
            self._tried = self._self_heard = now
            self._unheard.clear()
            self.broker.reconnect(
                "what this node broadcasts does not come back"
                if deaf
                else "other nodes are not heard, and they are more"
            )

    def _on_the_smaller_side(self, peers: Collection[str], now: float) -> bool:
        missing = [node for node, at in self._unheard.items() if now - at >= UNHEARD]
        if not missing:
            return False
        here = [self.node, *(peer for peer in peers if peer not in missing)]
        # of two sides of one size, one must stay
        return (len(here), min(missing)) < (len(missing), min(here))
