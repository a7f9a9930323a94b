"""What all rooms of a node share."""

from __future__ import annotations

from attrs import Factory, field, frozen
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Retention
from chatd.brokers.read_back import UNCOUNTED, Counts
from chatd.rooms.cache import CacheBudget
from chatd.rooms.catch_up import CatchUpQueue
from chatd.rooms.dating import Dating
from chatd.rooms.history import History
from chatd.telemetry.metrics import Metrics
from chatd.timing.wall import WallClock


@frozen
class RoomContext:
    """The broker, the clocks, the caches and the metrics of one node."""

    broker: IBroker
    #: Monotonic, for waiting.
    clock: IReactorTime
    #: The time of day, for retention.
    wall: WallClock
    history: History
    budget: CacheBudget
    retention: Retention
    metrics: Metrics
    counts: Counts = UNCOUNTED
    dating: Dating = field(
        init=False, default=Factory(lambda self: Dating(self.wall, self.retention), True)
    )
    turns: CatchUpQueue = field(
        init=False, default=Factory(lambda self: CatchUpQueue(self.clock), True)
    )

    def oldest(self) -> int:
        """The time (milliseconds since the epoch) before which messages have expired."""
        return self.wall.oldest(self.retention.age)
