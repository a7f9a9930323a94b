"""Leaving a host of RabbitMQ that does not serve the directory.

A stream is read from the replica on the host that a node is connected to. A host that has joined
the cluster (again) has none of the streams that were there before, and one that was reset alone
does not even know of them; both take connections all the same. The other hosts may serve.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import DIRECTORY

#: Seconds of refusals after which another host is tried: at first, and at most. A host that has
#: just started needs some seconds for its streams.
AT_FIRST, AT_MOST = 5.0, 60.0


@define(eq=False)
class Hosting:
    """Calls ``leave`` with a reason when the present host goes on refusing the directory; ever more
    seldom, until one serves it."""

    clock: IReactorTime
    leave: Callable[[str], None]
    #: When the present host refused first (the clock's seconds), and for how long it may.
    _since: float | None = field(default=None, init=False)
    _patience: float = field(default=AT_FIRST, init=False)

    def connected(self) -> None:
        """There is a new connection, perhaps to another host."""
        self._since = None

    def refused(self, why: str) -> None:
        """The host does not let the directory be read, because of ``why``."""
        now = self.clock.seconds()
        if self._since is None:
            self._since = now
        if now - self._since >= self._patience:
            self._since, self._patience = None, min(AT_MOST, 2 * self._patience)
            self.leave(f"this host of RabbitMQ does not serve {DIRECTORY.name}: {why}")

    def served(self) -> None:
        """The directory was read to its end."""
        self._since, self._patience = None, AT_FIRST
