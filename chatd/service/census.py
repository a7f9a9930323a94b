"""What is looked at only when the metrics are asked for: rooms, subscribers, members, the broker.
Counting these as they change would cost each message; looking costs one scrape 5 ms for each
thousand rooms, in slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attrs import define, field
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from chatd.rooms.follower import RoomState
from chatd.rooms.room import Room
from chatd.service.status import NodeStatus
from chatd.service.survey import Survey

#: The alarms of RabbitMQ (https://www.rabbitmq.com/docs/alarms), by a word of its own text.
ALARMS = ("memory", "disk")
#: Any other reason.
OTHER = "other"


def alarms_of(why: str) -> list[str]:
    """The alarms that ``why``, a broker's reason for taking no messages, speaks of."""
    return [alarm for alarm in ALARMS if alarm in why] or ([OTHER] if why else [])


@define(eq=False)
class _Rooms:
    """What was seen of the rooms of a node."""

    live: int = 0
    behind: int = 0
    lag: int = 0
    polls: int = 0
    away: int = 0
    late: float = 0.0

    def see(self, room: Room) -> None:
        """Add ``room``."""
        self.live += len(room.subscriptions)
        if lagging := room.lagging:
            self.live, self.behind = self.live - lagging, self.behind + lagging
            self.lag = max(self.lag, *(one.behind for one in room.behind()))
        self.polls += len(room.waiting)
        self.away += room.state is not RoomState.LEVEL
        self.late = max(self.late, room.lag)

    def metrics(self) -> Iterator[Metric]:
        yield _gauge("subscribers_live", "Subscribers at the head of their room.", self.live)
        text = "Subscribers that have yet to read something."
        yield _gauge("subscribers_behind", text, self.behind)
        text = "How many offsets the slowest subscriber is behind."
        yield _gauge("subscribers_behind_offsets", text, self.lag)
        yield _gauge("polls_waiting", "Long-polls that wait for a message.", self.polls)
        text = "Rooms whose stream this node cannot follow now."
        yield _gauge("rooms_not_level", text, self.away)
        text = "For how long the room that lags most has not been followed to its end."
        yield _gauge("follower_lag_seconds", text, self.late)


@define(eq=False)
class Census:
    """A collector for `Metrics.include`, of the node whose status is ``status``, whose rooms
    ``survey`` looks at, and whose certificates expire as ``expiries`` returns: the seconds since
    the epoch, by file."""

    status: NodeStatus
    survey: Survey
    expiries: Callable[[], Mapping[str, float]]
    _seen: _Rooms = field(factory=_Rooms, init=False)

    async def look(self) -> None:
        """Look at the rooms."""
        seen = _Rooms()
        await self.survey.look(seen.see)
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """The rooms as they were seen last, and the rest as it is."""
        yield from self._seen.metrics()
        total = self.status.node.chat.presence.total
        yield _gauge("members_present", "Users present, counted once in each room.", total)
        yield from self._broker()
        yield _gauge("ready", "Whether /readyz says 200.", self.status.ready)
        yield self._certificates()

    def _certificates(self) -> Metric:
        expiry = GaugeMetricFamily(
            "chatd_certificate_expiry_timestamp_seconds",
            "Until when a certificate in use is valid, by its file.",
            labels=["file"],
        )
        for file, until in self.expiries().items():
            expiry.add_metric([file], until)
        return expiry

    def _broker(self) -> Iterator[Metric]:
        why, broker = self.status.blocked, self.status.broker
        up = bool(broker.ready or why)
        yield _gauge("broker_up", "Whether the broker is connected.", up)
        blocked = GaugeMetricFamily(
            "chatd_broker_blocked",
            "Whether the broker refuses messages, by alarm.",
            labels=["alarm"],
        )
        raised = alarms_of(why)
        for alarm in (*ALARMS, OTHER):
            blocked.add_metric([alarm], float(alarm in raised))
        yield blocked
        for name, (text, value) in broker.figures().items():
            if name.endswith("_total"):
                yield CounterMetricFamily(f"chatd_{name.removesuffix('_total')}", text, value)
            else:
                yield _gauge(name, text, value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"chatd_{name}", text, float(value))
