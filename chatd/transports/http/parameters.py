"""Parameters of reading: where to start, how many messages or rooms, how long to wait."""

from __future__ import annotations

import re
import unicodedata
from typing import Protocol

from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import bad_request
from chatd.rooms.start_position import After, Last, Now, Start, check_last, since

LIMIT = 100
MAX_LIMIT = 1000
#: Seconds that a poll waits, at most.
MAX_WAIT = 60.0


class Asking(Protocol):
    """Whatever has the parameters of a URL."""

    def query(self, name: str) -> str | None:
        """The value of one, decoded. Raises `ChatError` bad_request if it is not UTF-8."""


_STARTS = ("after", "last", "since")
_WHOLE = re.compile(r"[0-9]{1,100}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,100}(\.[0-9]{1,100})?", re.ASCII)


def before_of(call: Asking) -> Cursor | None:
    """``before``, which excludes ``after``, ``last``, ``since`` and ``wait``. Raises `ChatError`
    bad_request."""
    before = call.query("before")
    if before is None:
        return None
    if any(call.query(name) is not None for name in (*_STARTS, "wait")):
        raise bad_request("Give before without after, last, since and wait.")
    return Cursor.parse(before)


def start_of(call: Asking) -> Start:
    """``after``, ``last`` or ``since``, at most one of them. Raises `ChatError` bad_request."""
    given = {name: value for name in _STARTS if (value := call.query(name)) is not None}
    if len(given) > 1:
        raise bad_request("Give at most one of after, last and since.")
    if "after" in given:
        return After(Cursor.parse(given["after"]))
    if "last" in given:
        return Last(check_last(_whole("last", given["last"])))
    if "since" in given:
        # an unescaped "+" in a query was decoded to a space, which no time has
        return since(given["since"].replace(" ", "+"))
    return Now()


def limit_of(call: Asking, start: Start | None = None) -> int:
    """``limit``, cut to `MAX_LIMIT`; ``last`` sets it."""
    limit = call.query("limit")
    size = min(_whole("limit", limit), MAX_LIMIT) if limit is not None else LIMIT
    if isinstance(start, Last) and start.n:
        return start.n
    return size


def name_of(call: Asking, name: str) -> str:
    """A parameter that is a room's name or a part of one, in NFC as these are; "" if there is
    none."""
    return unicodedata.normalize("NFC", call.query(name) or "")


def wait_of(call: Asking) -> float:
    """``wait`` in seconds, cut to `MAX_WAIT`."""
    wait = call.query("wait")
    if wait is None:
        return 0.0
    if not _DECIMAL.fullmatch(wait):
        raise bad_request("wait is a number of seconds, 0 or more.")
    return min(float(wait), MAX_WAIT)


def _whole(name: str, value: str) -> int:
    if not _WHOLE.fullmatch(value):
        raise bad_request(f"{name} is a whole number, 0 or more.")
    return int(value)
