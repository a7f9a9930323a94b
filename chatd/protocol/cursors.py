"""Cursors: positions in one life of a room (protocol, "Terms")."""

from __future__ import annotations

import re

from attrs import frozen

from chatd.protocol.errors import bad_request

_EPOCH = re.compile(r"[0-9A-Za-z]{1,32}", re.ASCII)
_CURSOR = re.compile(rf"({_EPOCH.pattern}):(-1|[0-9]{{1,18}})", re.ASCII)


def epoch(value: object) -> str:
    """Check an epoch, the name of one life of a room. Raises `ChatError` bad_request."""
    if not isinstance(value, str) or _EPOCH.fullmatch(value) is None:
        raise bad_request("An epoch is up to 32 ASCII letters and digits.")
    return value


@frozen
class Cursor:
    """The position after the record at ``offset`` in the life ``epoch`` of a room; -1 is before the
    first record."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, value: object) -> Cursor:
        """Parse a cursor. Raises `ChatError` bad_request."""
        match = _CURSOR.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise bad_request("That is not a cursor; pass one back as you received it.")
        return cls(match[1], int(match[2]))
