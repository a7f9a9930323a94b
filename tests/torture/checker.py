"""Whether a history keeps the promise: each room an append-only log that all see alike.

Pure, and small enough to be read. `check` returns what is wrong, a line each; nothing if all is
right. What each function checks stands in its docstring; ``test_checker.py`` shows
that each can fail.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field

from tests.torture.history import Event, of_kind

#: A message by its author: room, user, id.
Key = tuple[str, str, str]
#: A life of a room: its name, and the epoch of its cursors.
Life = tuple[str, str]


def check(events: Sequence[Event]) -> list[str]:
    """All that is wrong with a history."""
    log = Log()
    faults = log.gather(events)
    publishes = Publishes.of(events)
    faults += stored_once(log)
    faults += acknowledged_are_there(log, publishes, events)
    faults += refused_are_not(log, publishes)
    faults += in_real_time(log, publishes)
    faults += in_order_of_a_connection(log, events)
    faults += fetches_are_whole(log, publishes, events)
    faults += readers_miss_nothing(log, events)
    faults += strangers_see_nothing(events)
    faults += presence_is_right(events)
    return faults


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
    _offsets: dict[Life, list[int]] = field(factory=dict)

    def gather(self, events: Iterable[Event]) -> list[str]:
        """Every node, transport and reader shows the same object at a cursor, byte for byte."""
        faults = []
        for event in events:
            shown = [event["message"]] if event["e"] == "message" else event.get("messages", ())
            for message in shown:
                fault = self._add(message)
                if fault:
                    faults.append(fault)
        self._offsets = {life: sorted(messages) for life, messages in self.lives.items()}
        return faults

    def _add(self, message: dict[str, Any]) -> str | None:
        epoch, offset = split(message["cursor"])
        life = (message["room"], epoch)
        known = self.lives[life].setdefault(offset, message)
        if known is message:
            key = (message["room"], message["user"], message["id"])
            self.places[key].append((life, offset))
        elif json.dumps(known) != json.dumps(message):
            return f"differs: {known} and {message}"
        return None

    def offsets(self, life: Life) -> list[int]:
        """The offsets of a life's messages, ascending."""
        return self._offsets.get(life, [])


@define
class Publishes:
    """When each message was first sent, and how it was answered."""

    began: dict[Key, float] = field(factory=dict)
    #: The first time it was said to be stored, and by which node.
    stored: dict[Key, tuple[float, str]] = field(factory=dict)
    #: Sent, and refused each time as not stored.
    refused: set[Key] = field(factory=set)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Publishes:
        """The publishes of a history."""
        all_of_them = cls()
        answers: dict[Key, set[str]] = defaultdict(set)
        attempts: dict[Key, int] = defaultdict(int)
        for event in events:
            if event["e"] not in ("publish", "answer"):
                continue
            key = (event["room"], event["user"], event["id"])
            if event["e"] == "publish":
                all_of_them.began.setdefault(key, event["t"])
                attempts[key] += 1
                continue
            answers[key].add(event["result"])
            attempts[key] -= 1
            if event["result"] == "stored":
                all_of_them.stored.setdefault(key, (event["t"], event["node"]))
        all_of_them.refused = {
            key for key, said in answers.items() if said == {"refused"} and not attempts[key]
        }
        return all_of_them


def stored_once(log: Log) -> list[str]:
    """A message has one position in a life of its room, acknowledged or not."""
    faults = []
    for key, places in log.places.items():
        lives = [life for life, _ in places]
        if len(set(lives)) < len(lives):
            faults.append(f"twice: {key} at {places}")
    return faults


def acknowledged_are_there(log: Log, publishes: Publishes, events: Sequence[Event]) -> list[str]:
    """What was acknowledged is in the log, unless its room was deleted after it was sent."""
    deleted: dict[str, float] = {}
    for event in of_kind(events, "deleted"):
        deleted[event["room"]] = event["t"]
    return [
        f"lost: {key}, acknowledged by {node} at {at:.3f}"
        for key, (at, node) in publishes.stored.items()
        if key not in log.places and publishes.began.get(key, at) > deleted.get(key[0], -1.0)
    ]


def refused_are_not(log: Log, publishes: Publishes) -> list[str]:
    """What was refused as not stored is nowhere."""
    return [f"forged refusal: {key}" for key in publishes.refused if key in log.places]


def in_real_time(log: Log, publishes: Publishes) -> list[str]:
    """A publish that was acknowledged before another began stands before it; of one that lies in
    two lives of its room it is not known which was acknowledged."""
    faults = []
    for life in log.lives:
        earliest, of = float("inf"), None
        for offset in reversed(log.offsets(life)):
            message = log.lives[life][offset]
            key = (message["room"], message["user"], message["id"])
            began = publishes.began.get(key)
            if began is not None and earliest < began:
                faults.append(f"swapped: {of} was acknowledged before {key} began, and is after it")
            at = publishes.stored.get(key, (float("inf"), ""))[0]
            if at < earliest and len(log.places[key]) == 1:
                earliest, of = at, key
    return faults


def in_order_of_a_connection(log: Log, events: Sequence[Event]) -> list[str]:
    """What one connection published to one room, and sent once only, is in the order of sending."""
    sent: dict[tuple[str, str], list[Key]] = defaultdict(list)
    attempts: dict[Key, int] = defaultdict(int)
    for event in of_kind(events, "publish"):
        key = (event["room"], event["user"], event["id"])
        sent[event["connection"], event["room"]].append(key)
        attempts[key] += 1
    faults = []
    for (connection, _), keys in sent.items():
        last: dict[Life, tuple[int, Key]] = {}
        for key in keys:
            if attempts[key] > 1:
                continue
            for life, offset in log.places.get(key, ()):
                before = last.get(life)
                if before is not None and before[0] > offset:
                    faults.append(f"swapped on {connection}: {before[1]} and {key}")
                last[life] = (offset, key)
    return faults


def fetches_are_whole(log: Log, publishes: Publishes, events: Sequence[Event]) -> list[str]:
    """A fetch is a run of the log without holes, and reaches what its node had acknowledged; after
    all faults, what any node had."""
    faults = []
    stored = sorted((at, node, key) for key, (at, node) in publishes.stored.items())
    for event in of_kind(events, "fetch"):
        found: dict[Life, list[int]] = defaultdict(list)
        for message in event["messages"]:
            epoch, offset = split(message["cursor"])
            found[message["room"], epoch].append(offset)
        for life, offsets in found.items():
            faults += _run(log.offsets(life), offsets, f"fetch from {event['node']}")
            for at, node, key in stored:
                if at >= event["began"]:
                    break
                late = [o for there, o in log.places.get(key, ()) if there == life]
                if (node == event["node"] or event.get("level")) and late and late[0] > offsets[-1]:
                    faults.append(
                        f"stale: {event['node']} does not show {key}, which {node} acknowledged"
                    )
    return faults


def _run(log: Sequence[int], seen: Sequence[int], who: str) -> list[str]:
    expected = [offset for offset in log if seen[0] <= offset <= seen[-1]]
    if list(seen) == expected:
        return []
    missing = sorted(set(expected) - set(seen))[:5]
    return [f"not a run of the log: {who} misses {missing}" if missing else f"disorder: {who}"]


def readers_miss_nothing(log: Log, events: Sequence[Event]) -> list[str]:
    """Each reader's sequence goes on where it stood, without holes, but over a gap it was told of;
    who was waited for at the end has come to the end."""
    faults: list[str] = []
    at: dict[tuple[str, str], tuple[Life, int]] = {}
    for event in events:
        reader = (event.get("reader", ""), event.get("room", ""))
        if event["e"] == "attach":
            epoch, offset = split(event["cursor"])
            if event["after"] is not None and not event["gap"] and reader in at:
                faults += _step(log, reader, at[reader], ((event["room"], epoch), offset), False)
            at[reader] = ((event["room"], epoch), offset)
        elif event["e"] == "gap":
            epoch, offset = split(event["cursor"])
            at[reader] = ((event["room"], epoch), offset)
        elif event["e"] == "message":
            epoch, offset = split(event["message"]["cursor"])
            here = ((event["room"], epoch), offset)
            if reader in at:
                faults += _step(log, reader, at[reader], here, True)
            at[reader] = here
        elif event["e"] == "reached" and reader in at:
            life, offset = at[reader]
            left = [o for o in log.offsets(life) if o > offset]
            if left:
                faults.append(f"behind: {reader} stopped at {offset}, the log goes to {left[-1]}")
    return faults


def _step(
    log: Log,
    reader: tuple[str, str],
    before: tuple[Life, int],
    after: tuple[Life, int],
    message: bool,
) -> list[str]:
    (life, start), (there, end) = before, after
    if life != there:
        return [f"another life: {reader} went from {before} to {after}, and was told of no gap"]
    if message and end <= start:
        return [f"again: {reader} got {end} after {start}"]
    between = [o for o in log.offsets(life) if start < o < end + (not message)]
    return [f"missed: {reader} went from {start} to {end} over {between[:5]}"] if between else []


def strangers_see_nothing(events: Sequence[Event]) -> list[str]:
    """Who may not be in a room is shown none of its messages."""
    strangers = {(e["reader"], e["room"]) for e in of_kind(events, "stranger")}
    return [
        f"leaked: {event['message']} to {event['reader']}"
        for event in of_kind(events, "message")
        if (event["reader"], event["room"]) in strangers
    ]


def presence_is_right(events: Sequence[Event]) -> list[str]:
    """After the last fault every node knows who is in a room."""
    return [
        f"presence: {e['node']} says that in {e['room']} are {e['members']}, not {e['expected']}"
        for e in of_kind(events, "present")
        if sorted(e["members"]) != sorted(e["expected"])
    ]
