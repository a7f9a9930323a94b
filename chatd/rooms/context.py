"""What all rooms of a node share."""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, define, field, frozen
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Retention
from chatd.brokers.read_back import UNCOUNTED, Counts
from chatd.net.socket_group import SharedRing
from chatd.rooms.cache import CacheBudget
from chatd.rooms.dating import Dating
from chatd.rooms.former_ids import FormerIds
from chatd.rooms.history import History
from chatd.telemetry.metrics import Metrics
from chatd.timing.gathering import Gathering
from chatd.timing.turn_queue import TurnQueue
from chatd.timing.wall import WallClock


@define(eq=False)
class Places:
    """The subscriptions in all rooms of a node: how many there are."""

    taken: int = 0


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
    #: How often this process has stood still (`chatd.timing.steady`).
    standstills: Callable[[], int] = lambda: 0
    former_ids: FormerIds = field(
        init=False, default=Factory(lambda self: FormerIds(self.clock, self.standstills), True)
    )
    dating: Dating = field(
        init=False, default=Factory(lambda self: Dating(self.wall, self.retention), True)
    )
    #: Catching up.
    turns: TurnQueue = field(init=False, default=Factory(lambda self: self.history.turns, True))
    #: Fan-out in large rooms; see `chatd.rooms.audience`.
    fan_out: TurnQueue = field(
        init=False, default=Factory(lambda self: TurnQueue(self.clock, 1), True)
    )
    #: What large groups are sent to by.
    ring: SharedRing = field(factory=SharedRing, init=False)
    #: Open while several publishes are acknowledged, one after the other.
    answers: Gathering = field(factory=Gathering, init=False)
    places: Places = field(factory=Places, init=False)

    def oldest(self) -> int:
        """The time (milliseconds since the epoch) before which messages have expired."""
        return self.wall.oldest(self.retention.age)
