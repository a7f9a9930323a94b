"""What retention must still keep, and which readers went on without a gap.

Retention is judged generously: a message *may be gone* as soon as it can be. What no retention can
have removed must be there, and whatever is not shown must have been told of as a gap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import inf

from attrs import define, field, frozen

from tests.torture.history import Event, of_kind

#: A message by its author: room, user, id.
Key = tuple[str, str, str]
#: More bytes than any record of a harness has, with all that a node appends again for it.
LARGEST = 300
#: Seconds that an attempt may be under way.
UNDER_WAY = 30.0


@define
class Kept:
    """Retention, by the ``retention`` events of a history: seconds, and bytes of each room."""

    age: float = inf
    size: float = inf
    #: When something was sent to each room, ascending.
    _sent: dict[str, list[float]] = field(factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, events: Iterable[Event]) -> Kept:
        """What a history says of it; nothing is ever removed if it says nothing."""
        kept = cls()
        for event in events:
            if event["e"] == "retention":
                kept.age, kept.size = min(kept.age, event["age"]), min(kept.size, event["size"])
            elif event["e"] == "publish":
                kept._sent[event["room"]].append(event["t"])
        return kept

    def may_be_gone(self, room: str, began: float, at: float) -> bool:
        """Whether a message that was first sent at ``began`` may have been removed by ``at``."""
        sent = self._sent[room]
        since = bisect_right(sent, at) - bisect_left(sent, began - UNDER_WAY)
        return at - began >= self.age or since * LARGEST >= self.size


@frozen
class Run:
    """Part of a reader's way without a gap: from when on it read, and when the newest of the
    messages that it read was first sent."""

    start: float
    newest: float


def runs(events: Iterable[Event], began: Mapping[Key, float]) -> dict[str, list[Run]]:
    """The runs of all readers, by room."""
    found: dict[str, list[Run]] = defaultdict(list)
    open_runs: dict[tuple[str, str], tuple[float, float]] = {}

    def end(reader: tuple[str, str]) -> None:
        if reader in open_runs:
            found[reader[1]].append(Run(*open_runs.pop(reader)))

    for event in events:
        if event["e"] not in ("attach", "gap", "message"):
            continue
        reader = (event["reader"], event["room"])
        if event["e"] == "message":
            shown = event["message"]
            sent = began.get((shown["room"], shown["user"], shown["id"]), -inf)
            start, newest = open_runs.get(reader, (inf, -inf))
            open_runs[reader] = (start, max(newest, sent))
        elif event["e"] == "gap" or event["after"] is None or event["gap"]:
            end(reader)
            open_runs[reader] = (event["t"], -inf)
    for reader in list(open_runs):
        end(reader)
    return found


def crossed(runs: Iterable[Run], began: float, stored: float) -> bool:
    """Whether a reader must have come across a message that was first sent at ``began`` and
    acknowledged at ``stored``: it read before, and something that was sent after."""
    return any(run.start < began and stored < run.newest for run in runs)


def deletions(events: Iterable[Event]) -> dict[str, float]:
    """When each room, or its stream, was last deleted."""
    return {event["room"]: event["t"] for event in of_kind(events, "deleted")}
