"""The payloads of presence between nodes: checking their fields, and dividing long ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from attrs import asdict, frozen

#: Bytes of names in one payload, at most.
PART = 48 * 1024
#: Characters in the name of a node, at most.
NAME = 100

#: Room, user, whether the user is present on the node now, and, if not, whether the node knew the
#: user to be present on another one.
PresenceChange = tuple[str, str, bool, bool]

T = TypeVar("T", tuple[str, str], PresenceChange)


def node_name(value: object) -> str:
    """Check the name of a node. Raises TypeError."""
    if not isinstance(value, str) or len(value) > NAME:
        raise TypeError("the name of a node is a short string")
    return value


def whole_number(value: object) -> int:
    """Check a number of a payload. Raises TypeError, also for JSON's ``1e999``."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a number is a whole one")
    return value


@frozen
class Vitals:
    """What a node says of itself to operators, with each sign of life."""

    version: str = ""
    #: Clients connected, readers that have yet to read something, rooms followed.
    clients: int = 0
    behind: int = 0
    rooms: int = 0

    def payload(self) -> dict[str, Any]:
        """For a payload."""
        return asdict(self)

    @classmethod
    def read(cls, value: object) -> Vitals:
        """What came in a payload, where it is that; nodes of older versions say nothing."""
        said = value if isinstance(value, dict) else {}
        numbers = [
            max(0, whole_number(said.get(name, 0))) for name in ("clients", "behind", "rooms")
        ]
        return cls(node_name(said.get("version", "")), *numbers)


def divide(items: Iterable[T]) -> Iterator[list[T]]:
    """Divide ``items``, tuples that begin with a room and a user, into lists of about `PART`
    bytes."""
    part: list[T] = []
    size = 0
    for item in items:
        part.append(item)
        size += len(f"{item[0]}{item[1]}".encode()) + 24
        if size >= PART:
            yield part
            part, size = [], 0
    if part:
        yield part
