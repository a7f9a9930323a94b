"""Which of a broker's hosts to connect to, for all connections of one node."""

from __future__ import annotations

import random

from attrs import define, field

#: The share of moves that may lead back, lest nodes go round one after the other for ever.
STRAYING = 0.3


@define(eq=False)
class Hosts:
    """The hosts of a URL, by number from 0, of which one is the present one.

    The connections of a node share it, so that they end up on the same host: where a broker is
    split, a node that publishes on one side and reads on the other would be on neither. It begins
    anywhere, so that nodes spread over the hosts.
    """

    count: int
    present: int = field()
    #: Where it was when the nodes were to meet last.
    _tried: int | None = field(default=None, init=False)

    @present.default
    def _anywhere(self) -> int:
        return random.randrange(self.count)

    def leave(self, host: int) -> None:
        """``host`` could not be reached, or a connection to it ended: the next is the present one,
        unless another connection has gone on already."""
        if host == self.present:
            self.present = (host + 1) % self.count

    def meet(self, again: bool) -> bool:
        """Nodes of ours on different hosts do not reach each other. Where the others are is not
        known, so the first host is the present one, for all go there; if that was tried and did not
        help, ``again``, mostly one that was not tried just before. Returns whether to leave the
        present host for it: who is on the first one waits there at first, if there are others."""
        before = self.present
        others = [host for host in range(self.count) if host != before]
        untried = [host for host in others if host != self._tried]
        self._tried = before
        if random.random() < STRAYING:
            untried = others
        self.present = random.choice(untried or others or [before]) if again else 0
        return self.present != before or not others
