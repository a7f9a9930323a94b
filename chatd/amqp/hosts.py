"""Which of a broker's hosts to connect to, for all connections of one node."""

from __future__ import annotations

import random

from attrs import define, field


@define(eq=False)
class Hosts:
    """The hosts of a URL, by number from 0, of which one is the present one.

    The connections of a node share it, so that they end up on the same host: where a broker is
    split, a node that publishes on one side and reads on the other would be on neither. It begins
    anywhere, so that nodes spread over the hosts.
    """

    count: int
    present: int = field()

    @present.default
    def _anywhere(self) -> int:
        return random.randrange(self.count)

    def leave(self, host: int) -> None:
        """``host`` could not be reached, or a connection to it ended: the next is the present one,
        unless another connection has gone on already."""
        if host == self.present:
            self.present = (host + 1) % self.count

    def meet(self) -> None:
        """Nodes of ours on different hosts do not reach each other, and each of them calls this:
        the first host is the present one, for there they meet; on it the next is, for the others
        may be unable to reach it. If each went to its next, they would stay apart."""
        self.present = 0 if self.present else 1 % self.count
