"""What clients saw of each room as one log, and what they were told of their publishes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from attrs import define, field

from tests.torture.history import Event
from tests.torture.kept import Key

#: A life of a room: its name, and the epoch of its cursors.
Life = tuple[str, str]


def split(cursor: str) -> tuple[str, int]:
    """Epoch and offset of a cursor. For checkers alone: to clients a cursor is opaque."""
    epoch, _, offset = cursor.rpartition(":")
    return epoch, int(offset)


@define
class Log:
    """What all readers and fetches together saw: by life of a room, by offset."""

    lives: dict[Life, dict[int, dict[str, Any]]] = field(factory=lambda: defaultdict(dict))
    #: Where each message lies.
    places: dict[Key, list[tuple[Life, int]]] = field(factory=lambda: defaultdict(list))
    #: Where each was first stored, if the history says so.
    stored: dict[tuple[Life, Key], int] = field(factory=dict)
    #: When each was first shown.
    shown: dict[tuple[Life, int], float] = field(factory=dict)
    _offsets: dict[Life, list[int]] = field(factory=dict)

    def gather(self, events: Iterable[Event]) -> list[str]:
        """Every node, transport and reader shows the same object at a cursor, byte for byte."""
        faults = []
        for event in events:
            if event["e"] == "stored":
                epoch, offset = split(event["cursor"])
                key = (event["room"], event["user"], event["id"])
                self.stored.setdefault(((event["room"], epoch), key), offset)
            shown = [event["message"]] if event["e"] == "message" else event.get("messages", ())
            for message in shown:
                fault = self._add(message, event["t"])
                if fault:
                    faults.append(fault)
        self._offsets = {life: sorted(messages) for life, messages in self.lives.items()}
        return faults

    def _add(self, message: dict[str, Any], at: float) -> str | None:
        epoch, offset = split(message["cursor"])
        life = (message["room"], epoch)
        known = self.lives[life].setdefault(offset, message)
        if known is message:
            key = (message["room"], message["user"], message["id"])
            self.places[key].append((life, offset))
            self.shown[life, offset] = at
        elif json.dumps(known) != json.dumps(message):
            return f"differs: {known} and {message}"
        return None

    def offsets(self, life: Life) -> list[int]:
        """The offsets of a life's messages, ascending."""
        return self._offsets.get(life, [])

    def strike(self, life: Life, offset: int) -> None:
        """Leave out a repeat, which only those see who cannot see what it repeats."""
        message = self.lives[life].pop(offset)
        self._offsets[life].remove(offset)
        self.places[message["room"], message["user"], message["id"]].remove((life, offset))


@define
class Publishes:
    """When each message was first sent, and how it was answered."""

    began: dict[Key, float] = field(factory=dict)
    #: The first time it was said to be stored, and by which node.
    stored: dict[Key, tuple[float, str]] = field(factory=dict)
    #: When that was sent which was first said to be stored.
    sent: dict[Key, float] = field(factory=dict)
    #: Sent more than once.
    again: set[Key] = field(factory=set)
    #: Sent, and refused each time as not stored.
    refused: set[Key] = field(factory=set)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Publishes:
        """The publishes of a history."""
        all_of_them = cls()
        answers: dict[Key, set[str]] = defaultdict(set)
        attempts: dict[Key, int] = defaultdict(int)
        newest: dict[Key, float] = {}
        for event in events:
            if event["e"] not in ("publish", "answer"):
                continue
            key = (event["room"], event["user"], event["id"])
            if event["e"] == "publish":
                newest[key] = event["t"]
                if key in all_of_them.began:
                    all_of_them.again.add(key)
                all_of_them.began.setdefault(key, event["t"])
                attempts[key] += 1
                continue
            answers[key].add(event["result"])
            attempts[key] -= 1
            if event["result"] == "stored":
                all_of_them.stored.setdefault(key, (event["t"], event["node"]))
                all_of_them.sent.setdefault(key, newest.get(key, float(event["t"])))
        all_of_them.refused = {
            key for key, said in answers.items() if said == {"refused"} and not attempts[key]
        }
        return all_of_them
