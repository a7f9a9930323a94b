"""What happened, as clients saw it: one JSON object a line, in the order of one monotonic clock.

Times ``t`` are seconds. The kinds of events, by ``e``:

=========== ====================================================================================
``publish``  a client sends: ``room user id node connection``; once for each attempt
``answer``   what it was told: ``room user id node result`` (``stored``, ``unknown`` or ``refused``:
             known not to be stored)
``attach``   a reader begins, or goes on: ``reader room node transport after cursor gap``;
             ``after`` is None where it did not come back, ``cursor`` what it continues from
``message``  a reader gets a message: ``reader room node message`` (the object, parsed)
``gap``      a reader is told of a gap: ``reader room cursor``
``heard``    who is shown texts alone: ``reader room text once`` (at most once, if true)
``fetch``    all that a node has of a room: ``room node began messages``; with ``level``, so long
             after the last fault that all nodes must show what any of them acknowledged
``deleted``  a room was deleted, or its stream: ``room``
``stored``   a broker stored a record, shown or not, if it can be known: ``room user id cursor``
``retention`` what is kept of each room from now on: ``age`` (seconds) and ``size`` (bytes)
``reached``  a reader was waited for at the end: ``reader room``
``stranger`` a reader that may not see a room: ``reader room``
``present``  who a node says is in a room after all faults: ``room node members expected``
``fault``    something was broken: ``what``
=========== ====================================================================================

Others' checkers read the same file: a ``publish`` with its ``answer`` is an append that begins and
ends, a ``fetch`` is a read of the whole log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, TextIO

Event = dict[str, Any]


class Recorder:
    """Notes events, in memory and in a file as they happen."""

    def __init__(
        self, file: TextIO | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.events: list[Event] = []
        self._file = file
        self._now = now
        self._lock = Lock()  # neighbours have threads of their own

    def note(self, e: str, **more: Any) -> float:
        """Note an event; returns its time."""
        with self._lock:
            event = {"e": e, "t": self._now(), **more}
            self.events.append(event)
            if self._file is not None:
                self._file.write(json.dumps(event, ensure_ascii=False) + "\n")
        return float(event["t"])


def load(path: Path) -> Iterator[Event]:
    """The events of a history that was written to a file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def in_order(events: Iterable[Event]) -> list[Event]:
    """Events in the order of their times; some come from processes that tell them late."""
    return sorted(events, key=lambda event: float(event["t"]))


def of_kind(events: Iterable[Event], kind: str) -> Iterator[Event]:
    """The events of one kind."""
    return (event for event in events if event["e"] == kind)


def outcome(error: Event) -> str:
    """What an error object says of a message: ``refused`` (not stored), or ``unknown``."""
    not_stored = error.get("stored") is False or error.get("code") != "unavailable"
    return "refused" if not_stored else "unknown"


def just_before(cursor: str) -> str:
    """The place before the message with this cursor. For harnesses alone."""
    epoch, _, offset = cursor.rpartition(":")
    return f"{epoch}:{int(offset) - 1}"
