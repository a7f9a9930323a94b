"""What the rooms of a node have in common."""

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
    """What all rooms of a node share."""

    broker: IBroker
    #: Monotonic: what is waited for.
    clock: IReactorTime
    wall: WallClock
    archive: History
    budget: CacheBudget
    retention: Retention
    metrics: Metrics
    counts: Counts = UNCOUNTED
    #: How messages get their times.
    dating: Dating = field(
        init=False, default=Factory(lambda self: Dating(self.wall, self.retention), True)
    )
    turns: CatchUpQueue = field(
        init=False, default=Factory(lambda self: CatchUpQueue(self.clock), True)
    )
