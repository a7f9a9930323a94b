"""Which of a broker's hosts to connect to, for all connections of one node."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from attrs import define, field

from chatd.amqp.addresses import Addresses

#: The share of moves that may lead back, lest nodes go round one after the other for ever.
STRAYING = 0.3


@define(eq=False)
class Hosts:
    """The hosts of a URL, by number from 0, of which one is the present one.

    The connections of a node share it, so that they end up on the same host: where a broker is
    split, a node that publishes on one side and reads on the other would be on neither. It begins
    anywhere, so that nodes spread over the hosts.

    ``follow`` are called when there is a connection to some host: those who are elsewhere than on
    the present one are to go there.
    """

    count: int
    present: int = field()
    #: Of each host.
    addresses: list[Addresses] = field(init=False)
    follow: list[Callable[[], None]] = field(factory=list, init=False)
    #: How many connections there are to each host.
    _connections: Counter[int] = field(factory=Counter, init=False)
    #: Where it was when the nodes were to meet last.
    _tried: int | None = field(default=None, init=False)

    @present.default
    def _anywhere(self) -> int:
        return random.randrange(self.count)

    @addresses.default
    def _unknown(self) -> list[Addresses]:
        return [Addresses() for _ in range(self.count)]

    def connected(self, host: int) -> None:
        """There is a connection to ``host``."""
        self._connections[host] += 1
        for follow in self.follow:
            follow()

    def ended(self, host: int, soon: bool) -> None:
        """A connection to ``host`` ended, ``soon`` after it began or not. If it was the last one
        there, or did not last, the next host is the present one, unless another connection has gone
        on already: a host may take connections and serve only some of them."""
        self._connections[host] -= 1
        if soon or not self._connections[host]:
            self.unreachable(host)

    def unreachable(self, host: int) -> None:
        """``host`` could not be connected to: the next is the present one, unless another
        connection has gone on already."""
        if host == self.present:
            self.present = (host + 1) % self.count

    def leave(self) -> bool:
        """The present host does not serve what it should: the next is the present one. False if
        there is no other."""
        self.unreachable(self.present)
        return self.count > 1

    def meet(self, again: bool) -> None:
        """Nodes of ours on different hosts do not reach each other. Where the others are is not
        known, so the first host is the present one, for all go there, and who is there waits; if
        that was tried and did not help, ``again``, mostly one that was not tried just before."""
        others = [host for host in range(self.count) if host != self.present]
        untried = [host for host in others if host != self._tried]
        self._tried = self.present
        if random.random() < STRAYING:
            untried = others
        self.present = random.choice(untried or others or [0]) if again else 0

    def must_leave(self, host: int) -> bool:
        """Whether a connection to ``host`` is to end when nodes are to meet: if they do so
        elsewhere, or if there is no other host, and a new connection may do better."""
        return host != self.present or self.count == 1
