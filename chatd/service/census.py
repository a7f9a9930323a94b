"""What is looked at only when the metrics are asked for: rooms, subscribers, members, the broker.
Counting these as they change would cost each message; looking costs one scrape 5 ms for each
thousand rooms.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from chatd.service.status import NodeStatus

#: The alarms of RabbitMQ (https://www.rabbitmq.com/docs/alarms), by a word of its own text.
ALARMS = ("memory", "disk")
#: Any other reason.
OTHER = "other"


def alarms_of(why: str) -> list[str]:
    """The alarms that ``why``, a broker's reason for taking no messages, speaks of."""
    return [alarm for alarm in ALARMS if alarm in why] or ([OTHER] if why else [])


@define(eq=False)
class Census:
    """A collector for a Prometheus registry, of the node whose status is ``status``."""

    status: NodeStatus

    def collect(self) -> Iterator[Metric]:
        """The present figures."""
        yield from self._rooms()
        yield from self._broker()
        yield _gauge("ready", "Whether /readyz says 200.", self.status.ready)

    def _rooms(self) -> Iterator[Metric]:
        live = behind = lag = polls = away = 0
        late = 0.0
        chat = self.status.node.chat
        for room in chat.rooms:  # of which there may be tens of thousands
            live += len(room.subscriptions)
            if lagging := room.lagging:
                live, behind = live - lagging, behind + lagging
                lag = max(lag, *(one.behind for one in room.behind()))
            polls += len(room.news)
            away += not room.level_with_stream
            late = max(late, room.lag)
        yield _gauge("subscribers_live", "Subscribers at the head of their room.", live)
        yield _gauge("subscribers_behind", "Subscribers that have yet to read something.", behind)
        yield _gauge("subscribers_behind_offsets", "How far the slowest of them is behind.", lag)
        yield _gauge("polls_waiting", "Long-polls that wait for a message.", polls)
        yield _gauge("rooms_not_level", "Rooms whose stream this node cannot follow now.", away)
        text = "For how long the stream of one of them has not been followed to its end."
        yield _gauge("follower_lag_seconds", text, late)
        text = "Users present, in each room of theirs."
        yield _gauge("members_present", text, chat.presence.total)

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
