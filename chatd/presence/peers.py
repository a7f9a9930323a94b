"""What a node knows of another one."""

from __future__ import annotations

from attrs import define, field, frozen

from chatd.presence.payloads import Vitals

#: Seconds between requests for a snapshot of the same node, at first.
ASK_AGAIN = 1.0


@define(eq=False)
class Peer:
    """Another node. Times are the clock's seconds."""

    #: When it was last heard; later by the time in which it could not be.
    heard: float
    missed: bool = False
    vitals: Vitals = field(factory=Vitals)
    #: The number of the last payload applied; None before the first snapshot.
    number: int | None = None
    #: When a snapshot was last asked for, and seconds until it may be asked for again.
    asked: float = float("-inf")
    patience: float = ASK_AGAIN
    #: The snapshot being received: its number and how many parts have come; when the last part
    #: came; the users by room so far.
    coming: tuple[int, int] = (-1, 0)
    came: float = float("-inf")
    rooms: dict[str, list[str]] = field(factory=dict)


@frozen
class Neighbour:
    """Another node, last heard ``ago`` seconds ago; ``missed`` if that is too long."""

    name: str
    ago: float
    missed: bool
    vitals: Vitals
