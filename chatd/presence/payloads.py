"""The payloads of presence between nodes: checking their fields, and dividing long ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

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
