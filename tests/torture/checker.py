"""Whether a history keeps the promise: each room an append-only log that all see alike.

Pure, and small enough to be read. `check` returns what is wrong, a line each; nothing if all is
right. What each function checks stands in its docstring; ``test_checker.py`` shows
that each can fail.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.torture.history import Event, of_kind
from tests.torture.kept import Kept, Key, crossed, deletions, runs
from tests.torture.log import Life, Log, Publishes, split

#: Seconds within which it is noted that a room was deleted.
NOTED = 1.0


def check(events: Sequence[Event]) -> list[str]:
    """All that is wrong with a history."""
    log = Log()
    faults = log.gather(events)
    publishes, kept = Publishes.of(events), Kept.of(events)
    faults += stored_once(log, publishes, kept)
    faults += acknowledged_are_there(log, publishes, kept, events)
    faults += refused_are_not(log, publishes)
    faults += in_real_time(log, publishes, events)
    faults += in_order_of_a_connection(log, events)
    faults += fetches_are_whole(log, publishes, events)
    faults += fetches_show_something(publishes, kept, events)
    faults += readers_miss_nothing(log, events)
    faults += gaps_are_true(log, publishes, kept, events)
    faults += heard_was_said(events)
    faults += strangers_see_nothing(events)
    faults += presence_is_right(events)
    return faults


def stored_once(log: Log, publishes: Publishes, kept: Kept) -> list[str]:
    """A message has one position in a life of its room, acknowledged or not. A repeat may be shown
    once retention may have removed what it repeats."""
    faults = []
    for key, places in list(log.places.items()):
        first: dict[Life, int] = {}
        for life, offset in sorted(places):
            at = log.shown[life, offset]
            if offset <= first.setdefault(life, log.stored.get((life, key), offset)):
                continue
            if kept.may_be_gone(key[0], publishes.began.get(key, at), at):
                log.strike(life, offset)
            else:
                faults.append(f"twice: {key} at {places}")
    return faults


def acknowledged_are_there(
    log: Log, publishes: Publishes, kept: Kept, events: Sequence[Event]
) -> list[str]:
    """What was acknowledged is in the log, unless its room was deleted after it was sent, or it is
    gone and no reader went past it without a gap."""
    deleted, end, walked = deletions(events), events[-1]["t"], runs(events, publishes.began)
    faults = []
    for key, (at, node) in publishes.stored.items():
        began = publishes.began.get(key, at)
        if log.places.get(key) or began <= deleted.get(key[0], -1.0):
            continue
        if not kept.may_be_gone(key[0], began, end) or crossed(walked[key[0]], began, at):
            faults.append(f"lost: {key}, acknowledged by {node} at {at:.3f}")
    return faults


def refused_are_not(log: Log, publishes: Publishes) -> list[str]:
    """What was refused as not stored is nowhere."""
    return [f"forged refusal: {key}" for key in publishes.refused if log.places.get(key)]


def in_real_time(log: Log, publishes: Publishes, events: Sequence[Event]) -> list[str]:
    """A publish that was acknowledged before another began stands before it; of one that lies in
    two lives of its room, or may have, it is not known which was acknowledged, unless all that was
    acknowledged was sent since the last life began."""
    faults, deleted = [], deletions(events)
    for life in log.lives:
        earliest, of = float("inf"), None
        for offset in reversed(log.offsets(life)):
            message = log.lives[life][offset]
            key = (message["room"], message["user"], message["id"])
            began = publishes.began.get(key)
            if began is not None and earliest < began:
                faults.append(f"swapped: {of} was acknowledged before {key} began, and is after it")
            at = publishes.stored.get(key, (float("inf"), ""))[0]
            here = publishes.sent.get(key, at) > deleted.get(key[0], -1.0)
            once = key not in publishes.again or here
            if at < earliest and len(log.places[key]) == 1 and once:
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
            if offset in log.lives[message["room"], epoch]:
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


def fetches_show_something(publishes: Publishes, kept: Kept, events: Sequence[Event]) -> list[str]:
    """A fetch is not empty while its node must have something: see `fetches_are_whole`."""
    faults, deleted = [], deletions(events)
    for event in of_kind(events, "fetch"):
        if event["messages"]:
            continue
        for key, (at, node) in publishes.stored.items():
            began = publishes.began.get(key, at)
            if (
                key[0] != event["room"]
                or at >= event["began"]
                or began <= deleted.get(key[0], -1.0)
            ):
                continue
            theirs = node == event["node"] or event.get("level")
            if theirs and not kept.may_be_gone(key[0], began, event["t"]):
                faults.append(f"stale: {event['node']} shows nothing, not even {key}")
                break
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
        elif event["e"] == "gap" and event["cursor"] is None:
            at.pop(reader, None)  # it ends at the next message
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


def gaps_are_true(log: Log, publishes: Publishes, kept: Kept, events: Sequence[Event]) -> list[str]:
    """A gap within a life of a room leads on, over nothing that must still be there."""
    faults: list[str] = []
    at: dict[tuple[str, str], tuple[Life, int]] = {}
    for event in events:
        if event["e"] not in ("attach", "gap", "message"):
            continue
        reader, room = (event["reader"], event["room"]), event["room"]
        if event["e"] == "gap" and event["cursor"] is None:
            at.pop(reader, None)
            continue
        shown = event["message"] if event["e"] == "message" else event
        epoch, offset = split(shown["cursor"])
        before, at[reader] = at.get(reader), ((room, epoch), offset)
        told = event["e"] == "gap" or (event["e"] == "attach" and event["gap"])
        if not told or before is None or before[0] != (room, epoch):
            continue
        if offset < before[1]:
            faults.append(f"sent back: {reader} went from {before} to {offset}")
        for over in log.offsets(before[0]):
            if before[1] < over <= offset:
                message = log.lives[before[0]][over]
                key = (room, message["user"], message["id"])
                began = publishes.began.get(key, float(event["t"]))
                if not kept.may_be_gone(room, began, event["t"]):
                    faults.append(f"not gone: {reader} was told of a gap over {key}")
    return faults


def heard_was_said(events: Sequence[Event]) -> list[str]:
    """Who hears texts alone hears what was said in the room, and, where that is promised, once in
    each life that the room has had since it was first said: who is not told where a life begins
    hears in the new one what was not acknowledged in the old one, and was said again."""
    faults: list[str] = []
    said = dict[tuple[str, str], float]()
    heard = Counter[tuple[str, str, str]]()
    ends = [(event["room"], event["t"]) for event in of_kind(events, "deleted")]
    for event in events:
        if event["e"] == "publish":
            said.setdefault((event["room"], f"text of {event['id']}"), event["t"])
        elif event["e"] == "heard":
            reader, room, text = event["reader"], event["room"], event["text"]
            if (room, text) not in said:
                faults.append(f"never said: {text!r} in {room}, to {reader}")
                continue
            heard[reader, room, text] += 1
            since = said[room, text], event["t"] + NOTED
            ended = sum(of == room and since[0] <= at <= since[1] for of, at in ends)
            if event["once"] and heard[reader, room, text] > 1 + ended:
                faults.append(f"again: {reader} heard {text!r}")
    return faults


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
