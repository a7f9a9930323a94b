"""What nodes tell each other of presence: checked when it comes, cut up when it is long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

#: Bytes of names in one payload.
PART = 48 * 1024
#: Characters in the name of a node.
NAME = 100

#: A user in a room, whether here, and whether a leave was no news to its node: it knew the user to
#: be on another one too.
PresenceChange = tuple[str, str, bool, bool]

T = TypeVar("T", tuple[str, str], PresenceChange)


def node_name(value: object) -> str:
    """The name of a node; TypeError for what is none."""
    if not isinstance(value, str) or len(value) > NAME:
        raise TypeError("the name of a node is a short string")
    return value


def whole_number(value: object) -> int:
    """A number as a node counts; TypeError for another thing, or for JSON's ``1e999``."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a number is a whole one")
    return value


def divide(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut ``items``, tuples that begin with a room and a user, to `PART`."""
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
