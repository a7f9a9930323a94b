"""The composition of one node's domain: directory, rooms and presence, wired together."""

from __future__ import annotations

import socket
from collections.abc import Callable
from secrets import token_hex

from attrs import frozen
from prometheus_client import Counter
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import IBroker, Retention
from chatd.brokers.read_back import Counts
from chatd.directory.directory import Directory
from chatd.directory.readiness import Readiness
from chatd.presence.board import PRESENCE_LIMIT, PresenceBoard
from chatd.presence.replication import PresenceReplication
from chatd.rooms.cache import RECENT_TOTAL, CacheBudget
from chatd.rooms.context import RoomContext
from chatd.rooms.dating import Dating
from chatd.rooms.history import History
from chatd.rooms.registry import RoomRegistry
from chatd.service.chat import Chat
from chatd.telemetry.metrics import Metrics
from chatd.timing.wall import WallClock


def fresh_name() -> str:
    """A name for a node: its host's, and something that no other start has."""
    return f"{socket.gethostname()}-{token_hex(4)}"


@frozen
class Domain:
    """The parts of a node that know no transport and no reactor."""

    chat: Chat
    directory: Directory
    rooms: RoomRegistry
    presence: PresenceBoard
    replication: PresenceReplication
    readiness: Readiness


def compose(
    clock: IReactorTime,
    broker: IBroker,
    name: str,
    metrics: Metrics,
    retention: Retention,
    *,
    wall: WallClock | None = None,
    standstills: Callable[[], int] = lambda: 0,
    max_text: int = 16 * 1024,
    presence_limit: int = PRESENCE_LIMIT,
    cache_bytes: int = RECENT_TOTAL,
) -> Domain:
    """The domain of the node called ``name``, on ``broker`` (an `IBroker`). Sizes in bytes;
    ``presence_limit`` in members of a room. Without ``wall`` the time of day is the clock's.
    ``standstills`` as in `DirectorySync`."""
    presence = PresenceBoard(clock, name, presence_limit)
    wall = wall or WallClock(clock)

    def noted(counter: Counter) -> Callable[[], None]:
        """Count records that had to be sent again; the directory may have lost some, too."""

        def note() -> None:
            counter.inc()
            readiness.doubt()

        return note

    counts = Counts(noted(metrics.false_confirms), noted(metrics.resent))
    directory = Directory(broker, clock, counts, metrics.bad_events.inc, wall)
    readiness = Readiness(directory.stream, clock, lambda: str(broker.blocked))
    directory.sync.proved, directory.sync.standstills = lambda: readiness.ready, standstills
    history = History(broker, clock, Dating(wall, retention))
    budget = CacheBudget(cache_bytes)
    # where it is the only node, nothing was stored meanwhile
    stood: Callable[[], int] = (lambda: 0) if broker.exact else standstills
    context = RoomContext(broker, clock, wall, history, budget, retention, metrics, counts, stood)
    rooms = RoomRegistry(context, directory)
    presence.show_to(rooms)
    chat = Chat(clock, directory, rooms, presence, max_text)
    replication = PresenceReplication(presence, broker, clock, metrics.bad_events.inc)
    directory.stream.node, directory.stream.on_probe = name, replication.shown
    replication.on_silent = readiness.doubt
    return Domain(chat, directory, rooms, presence, replication, readiness)
