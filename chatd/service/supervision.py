"""The service manager's view of a node: started, alive, what it does, going down."""

from __future__ import annotations

from collections.abc import Callable

from chatd.net.notification import ServiceManager
from chatd.timing.clock import NodeClock
from chatd.timing.onlooker import Onlooker

#: Seconds between looks at the node.
LOOK = 0.5
#: Seconds after which the node counts as started although its broker is away: it listens, says so,
#: and a machine's boot does not wait for another machine's outage.
PATIENCE = 30.0


class Supervision(Onlooker):
    """Tells ``manager`` how the node is. ``ready`` says whether it can serve, ``status`` in one
    line what it does."""

    name = "supervision"

    def __init__(
        self,
        clock: NodeClock,
        manager: ServiceManager,
        ready: Callable[[], bool],
        status: Callable[[], str],
    ) -> None:
        super().__init__(clock)
        self._manager = manager
        self._is_ready = ready
        self._status = status
        self._started = False
        self._said = ""
        self._since = self._fed = float("-inf")

    def startService(self) -> None:
        """Look at the node from now on, if somebody wants to know."""
        super().startService()
        if self._manager.address:
            self._since = self._clock.seconds()
            self._look()

    def going_down(self) -> None:
        """The node was told to stop, and drains."""
        self._manager.tell(STOPPING="1")
        self._say()

    def _look(self) -> None:
        self._look_in(LOOK)
        now = self._clock.seconds()
        if not self._started and (self._is_ready() or now - self._since >= PATIENCE):
            self._started = True
            self._manager.tell(READY="1")
        if self._manager.watchdog and now - self._fed >= self._manager.watchdog / 3:
            self._fed = now
            self._manager.tell(WATCHDOG="1")
        self._say()

    def _say(self) -> None:
        status = self._status()
        if status != self._said:
            self._said = status
            self._manager.tell(STATUS=status)
