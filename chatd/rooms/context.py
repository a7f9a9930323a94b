"""What the rooms of a node have in common."""

from __future__ import annotations

from attrs import Factory, field, frozen
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Retention
from chatd.brokers.read_back import UNCOUNTED, Counts
from chatd.rooms.cache import Budget
from chatd.rooms.catch_up import Turns
from chatd.rooms.dating import Dating
from chatd.rooms.history import Archive
from chatd.telemetry.metrics import Metrics
from chatd.timing.wall import WallClock


@frozen
class Node:
    """What all rooms of a node share."""

    broker: IBroker
    #: Monotonic: what is waited for.
    clock: IReactorTime
    wall: WallClock
    archive: Archive
    budget: Budget
    retention: Retention
    metrics: Metrics
    counts: Counts = UNCOUNTED
    #: How messages get their times.
    dating: Dating = field(
        init=False, default=Factory(lambda self: Dating(self.wall, self.retention), True)
    )
    turns: Turns = field(init=False, default=Factory(lambda self: Turns(self.clock), True))
