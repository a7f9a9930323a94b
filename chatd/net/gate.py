"""A start: connections are accepted when the node can serve them.

Until then the kernel holds them (listen(2)), and who comes waits for as long as the start takes.
Otherwise a node that is restarted would refuse, for as long, just those that a balancer sends to it
because it has the fewest clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from chatd.timing.onlooker import Onlooker

#: Seconds between looks at the node.
LOOK = 0.01
#: Seconds after which connections are accepted all the same, to be told that the broker is away.
PATIENCE = 3.0


class Gate(Onlooker):
    """Ports that are given to `hold` accept nothing until the node is ``ready``, for `PATIENCE`
    seconds at most."""

    name = "gate"

    def __init__(self, clock: IReactorTime, ready: Callable[[], bool]) -> None:
        super().__init__(clock)
        self._ready = ready
        self._since = 0.0
        #: None once it is open.
        self._held: list[Any] | None = []

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._held is None

    def hold(self, port: Any) -> None:
        """``port``, a `twisted.internet.tcp.Port`, has begun to listen."""
        if self._held is not None:
            port.stopReading()
            self._held.append(port)

    def startService(self) -> None:
        """Open when the node is ready."""
        super().startService()
        self._since = self._clock.seconds()
        self._look()

    def _look(self) -> None:
        if not self._ready() and self._clock.seconds() - self._since < PATIENCE:
            self._look_in(LOOK)
            return
        held, self._held = self._held, None
        for port in held or ():
            if port.connected and not port.disconnecting:  # the node may be going down already
                port.startReading()
