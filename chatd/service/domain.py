"""The domain of one node, put together: directory, rooms, presence, and what ties them."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import Retention
from chatd.brokers.read_back import Counts
from chatd.directory.directory import Directory
from chatd.presence.board import PRESENCE_LIMIT, Presence
from chatd.presence.replication import Gossip
from chatd.rooms.cache import RECENT_TOTAL, Budget
from chatd.rooms.context import Node
from chatd.rooms.history import Archive
from chatd.rooms.registry import Rooms
from chatd.service.chat import Chat
from chatd.telemetry.metrics import Metrics


@frozen
class Domain:
    """The parts of a node that know neither transport nor reactor."""

    chat: Chat
    directory: Directory
    rooms: Rooms
    presence: Presence
    gossip: Gossip


def compose(
    clock: IReactorTime,
    broker: Any,
    name: str,
    metrics: Metrics,
    retention: Retention,
    *,
    max_text: int = 16 * 1024,
    presence_limit: int = PRESENCE_LIMIT,
    cache_bytes: int = RECENT_TOTAL,
) -> Domain:
    """The domain of the node called ``name``, on ``broker`` (an `IBroker`). Sizes in bytes;
    ``presence_limit`` in members of a room."""
    presence = Presence(clock, name, presence_limit)
    counts = Counts(metrics.false_confirms.inc, metrics.resent.inc)
    directory = Directory(broker, clock, counts)
    context = Node(broker, clock, Archive(broker, clock), Budget(cache_bytes), retention, metrics)
    rooms = Rooms(context, directory)
    presence.show_to(rooms)
    chat = Chat(clock, directory, rooms, presence, max_text)
    return Domain(chat, directory, rooms, presence, Gossip(presence, broker, clock))
