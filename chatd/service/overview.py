"""What operators see of a node at a glance: nodes, rooms, readers, the broker, refusals.

Everything is looked at when it is asked for, in slices, and bounded: rooms come page by page, of
readers and refusals only some.
"""

from __future__ import annotations

from heapq import nlargest
from itertools import islice
from typing import Any

from attrs import asdict, define, field, frozen
from prometheus_client.registry import Collector
from twisted.logger import Logger

from chatd import __version__
from chatd.directory.projection import RoomEntry
from chatd.presence.payloads import Vitals
from chatd.protocol.timestamps import format_time
from chatd.rooms.room import Room
from chatd.service.census import alarms_of
from chatd.service.chat import Chat
from chatd.service.status import NodeStatus
from chatd.service.survey import Survey
from chatd.telemetry.metrics import Metrics
from chatd.timing.singleflight import SingleFlight
from chatd.timing.wall import WallClock

#: Readers that are shown, and that are looked at to find the slowest.
SLOWEST, LOOKED_AT = 20, 5000
#: Other nodes that are shown.
NODES = 100


@frozen
class RoomQuery:
    """Which rooms to show: those after the name ``after`` with ``part`` in it, so many at most."""

    after: str = ""
    part: str = ""
    limit: int = 50


@define(eq=False)
class _Readers:
    """Readers that have yet to read something: how many, and the slowest of those looked at."""

    behind: int = 0
    _looked_at: int = 0
    #: How far each is behind, its user and its room.
    _slowest: list[tuple[int, str, str]] = field(factory=list)

    def see(self, room: Room) -> None:
        """Add those of ``room``."""
        if not (lagging := room.lagging):
            return
        self.behind += lagging
        name, some = room.stream.room, islice(room.behind(), LOOKED_AT - self._looked_at)
        found = [(one.behind, one.subscriber.identity.user, name) for one in some]
        self._looked_at += len(found)
        self._slowest = nlargest(SLOWEST, self._slowest + found)

    def slowest(self) -> list[dict[str, Any]]:
        """The slowest, the slowest one first."""
        return [{"user": user, "room": room, "behind": n} for n, user, room in self._slowest]


@define(eq=False)
class Overview:
    """The node whose status is ``status`` and whose rooms ``survey`` looks at; its broker is of the
    ``kind`` that its address begins with. Tells the other nodes its vitals."""

    _log = Logger()

    status: NodeStatus
    survey: Survey
    kind: str
    metrics: Metrics
    wall: WallClock
    chat: Chat = field(init=False)
    _began: float = field(init=False)
    #: As they were seen last.
    _readers: _Readers = field(factory=_Readers, init=False)
    #: One look for all who ask meanwhile, however many do, and however long it takes.
    _looking: SingleFlight[None, None] = field(factory=SingleFlight, init=False)

    def __attrs_post_init__(self) -> None:
        self.chat = self.status.node.chat
        self._began = self.chat.clock.seconds()
        self.status.node.replication.vitals = self._sign_of_life

    async def state(self, query: RoomQuery) -> dict[str, Any]:
        """All of it, as a JSON object."""
        await self._looking.run(None, self._look)
        chat, vitals = self.chat, self._vitals()
        return {
            "node": chat.presence.node,
            "state": "draining" if chat.draining else "ready" if self.status.ready else "not ready",
            "time": format_time(self.wall.milliseconds()),
            "uptime": round(chat.clock.seconds() - self._began, 3),
            **vitals.payload(),
            "nodes": [
                {"node": one.name, "missed": one.missed, "ago": round(one.ago, 1)}
                | one.vitals.payload()
                for one in self.status.node.replication.neighbours()[:NODES]
            ],
            "broker": self._broker(),
            "connections": _samples(self.metrics.connections, "transport"),
            "published": self.metrics.published.value,
            "delivered": self.metrics.delivered.value,
            "refused": _total(self.metrics.refusals.counter),
            "rooms": self._rooms(query),
            "readers": self._readers.slowest(),
            "refusals": [
                asdict(one) | {"time": format_time(one.time)} for one in self.metrics.refusals
            ],
        }

    async def _look(self) -> None:
        readers = _Readers()
        await self.survey.look(readers.see)
        self._readers = readers

    def _vitals(self) -> Vitals:
        """With the readers as they were seen last."""
        connected = int(sum(_samples(self.metrics.connections, "transport").values()))
        return Vitals(__version__, connected, self._readers.behind, self.chat.rooms.count)

    def _sign_of_life(self) -> Vitals:
        """The vitals; the readers are looked at again for the next time."""
        looking = self._looking.run(None, self._look)
        looking.addErrback(lambda why: self._log.failure("Looking at the readers failed", why))
        return self._vitals()

    def _broker(self) -> dict[str, Any]:
        why, broker = self.status.blocked, self.status.broker
        figures = broker.figures().items()
        return {
            "kind": self.kind,
            "connected": bool(broker.ready or why),
            "blocked": why,
            "alarms": alarms_of(why),
            "figures": [
                {"name": name, "text": text, "value": value} for name, (text, value) in figures
            ],
        }

    def _rooms(self, query: RoomQuery) -> dict[str, Any]:
        found = self.chat.directory.page(query.after, query.limit + 1, query.part)
        shown = [self._room(entry) for entry in found[: query.limit]]
        return {
            "count": len(self.chat.directory),
            "shown": shown,
            "more": len(found) > query.limit,
        }

    def _room(self, entry: RoomEntry) -> dict[str, Any]:
        """A room; ``rate`` (messages a minute), ``last`` (when the last one was said) and
        ``readers`` are null where this node does not follow it."""
        room = self.chat.rooms.attached(entry)
        newest = room.recent.newest if room is not None else None
        rate = room.recent.rate(self.wall.milliseconds()) if room is not None else None
        return {
            "room": entry.name,
            "private": entry.private,
            "members": len(entry.members),
            "count": self.chat.presence.count(entry.name),
            "rate": round(rate, 1) if rate is not None else None,
            "last": format_time(newest.time) if newest is not None else None,
            "readers": len(room.subscriptions) if room is not None else None,
            "behind": room.lagging if room is not None else 0,
        }


def _samples(metric: Collector, label: str) -> dict[str, float]:
    """The values of a metric by one of its labels."""
    return {
        sample.labels[label]: sample.value
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def _total(counter: Collector) -> float:
    """The value of a counter, over all its labels."""
    return sum(
        sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )
