"""The checker fails where it must: histories that are right, and doctored ones."""

from __future__ import annotations

import copy
import json
from math import inf
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.torture.checker import check
from tests.torture.history import Event, Recorder, load
from tests.torture.kept import LARGEST


def message(n: int, id: str = "", epoch: str = "e1", room: str = "hall") -> dict[str, Any]:
    """The message at offset ``n``."""
    return {
        "type": "message",
        "room": room,
        "cursor": f"{epoch}:{n}",
        "id": id or f"m{n}",
        "user": "ann",
        "text": f"text of {n}",
        "time": "2026-11-01T12:00:00.000Z",
    }


def good() -> list[Event]:
    """Ann publishes five messages, one after the other; bob reads them, over a reconnect."""
    events: list[Event] = [
        {
            "e": "attach",
            "reader": "bob",
            "node": "a",
            "after": None,
            "cursor": "e1:-1",
            "gap": False,
        }
    ]
    for n in range(5):
        said = {"user": "ann", "id": f"m{n}", "node": "a", "connection": "ann-1"}
        events.append({"e": "publish", **said})
        events.append({"e": "answer", "result": "stored", **said})
        if n == 3:
            events.append(
                {
                    "e": "attach",
                    "reader": "bob",
                    "node": "b",
                    "after": "e1:2",
                    "cursor": "e1:2",
                    "gap": False,
                }
            )
        events.append({"e": "message", "reader": "bob", "node": "a", "message": message(n)})
    events.append({"e": "reached", "reader": "bob"})
    everything = [message(n) for n in range(5)]
    events.append({"e": "fetch", "node": "a", "began": 900.0, "messages": everything})
    events.append({"e": "present", "node": "a", "members": ["bob"], "expected": ["bob"]})
    return [{"room": "hall", "t": float(at), **event} for at, event in enumerate(events)]


class Doctored(SynchronousTestCase):
    """Helper: a good history, and what the checker says of it."""

    def setUp(self) -> None:
        self.events = good()

    def the(self, kind: str, number: int = 0) -> Event:
        """The event of a kind with this number."""
        return [event for event in self.events if event["e"] == kind][number]

    def fails(self, word: str) -> None:
        faults = check(self.events)
        self.assertTrue(any(fault.startswith(word) for fault in faults), faults)

    def keep(self, age: float = inf, size: float = inf) -> None:
        """Let retention be this (seconds, bytes)."""
        self.events = [event for event in self.events if event["e"] != "retention"]
        self.events.insert(0, {"e": "retention", "t": 0.0, "age": age, "size": size})


class DoctoredTests(Doctored):
    def test_a_good_one(self) -> None:
        self.assertEqual(check(self.events), [])

    def test_lost(self) -> None:
        for event in list(self.events):
            if event["e"] == "message" and event["message"]["id"] == "m2":
                self.events.remove(event)
        del self.the("fetch")["messages"][2]
        self.fails("lost")

    def test_forged_acknowledgement(self) -> None:
        forged = {"room": "hall", "user": "ann", "id": "never", "node": "a", "result": "stored"}
        self.events += [
            {"e": "publish", "t": 50.0, "connection": "x", **forged},
            {"e": "answer", "t": 51.0, **forged},
        ]
        self.fails("lost: ('hall', 'ann', 'never')")

    def test_deleted_with_its_room_is_not_lost(self) -> None:
        forged = {"room": "hall", "user": "ann", "id": "gone", "node": "a", "result": "stored"}
        self.events += [
            {"e": "publish", "t": 50.0, "connection": "x", **forged},
            {"e": "answer", "t": 51.0, **forged},
            {"e": "deleted", "t": 52.0, "room": "hall"},
        ]
        self.assertEqual(check(self.events), [])

    def test_forged_refusal(self) -> None:
        self.the("answer", 4)["result"] = "refused"
        self.fails("forged refusal")

    def test_an_unknown_outcome_may_be_stored_or_not(self) -> None:
        self.the("answer", 4)["result"] = "unknown"
        self.assertEqual(check(self.events), [])

    def test_doubled(self) -> None:
        again = message(7, "m2")
        self.the("fetch")["messages"].append(again)
        self.fails("twice")

    def test_delivered_twice(self) -> None:
        at = self.events.index(self.the("message", 2))
        self.events.insert(at, copy.deepcopy(self.the("message", 2)))
        self.fails("again")

    def test_swapped(self) -> None:
        for kind in ("message",):
            first, second = self.the(kind, 1), self.the(kind, 2)
            first["message"]["id"], second["message"]["id"] = "m2", "m1"
        listed = self.the("fetch")["messages"]
        listed[1]["id"], listed[2]["id"] = "m2", "m1"
        self.fails("swapped: ('hall', 'ann', 'm1')")

    def test_acknowledged_for_a_life_that_had_just_ended(self) -> None:
        """What was sent again before, and is late, may come anywhere in the new one."""
        self.test_swapped()
        sent = self.the("publish", 1)
        again = {**sent, "t": sent["t"] + 0.1}
        self.events += [again, {"e": "deleted", "t": sent["t"] + 0.5, "room": "hall"}]
        self.events.sort(key=lambda event: float(event["t"]))
        self.assertEqual(check(self.events), [])
        again["t"] += 0.5  # then it was sent in the new one
        self.events.sort(key=lambda event: float(event["t"]))
        self.fails("swapped: ('hall', 'ann', 'm1')")

    def test_swapped_on_a_connection(self) -> None:
        self.test_swapped()
        for number in range(5):
            self.the("answer", number)["result"] = "unknown"
        self.fails("swapped on ann-1")

    def test_swapped_for_one_reader(self) -> None:
        one, two = self.the("message", 1), self.the("message", 2)
        one["message"], two["message"] = two["message"], one["message"]
        self.fails("again")

    def test_missed(self) -> None:
        self.events.remove(self.the("message", 1))
        self.fails("missed")

    def test_missed_at_a_reconnect(self) -> None:
        self.the("attach", 1)["cursor"] = "e1:3"
        self.events.remove(self.the("message", 3))
        self.fails("missed")

    def test_missed_over_a_gap_that_was_told(self) -> None:
        self.keep(age=1.0)
        self.the("attach", 1).update(cursor="e1:3", gap=True)
        self.events.remove(self.the("message", 3))
        self.assertEqual(check(self.events), [])

    def test_another_life_without_a_word(self) -> None:
        self.the("message", 4)["message"] = message(0, "m4", epoch="e2")
        self.fails("another life")

    def test_another_life_after_a_gap_without_an_end(self) -> None:
        """A poll only tells that there was one."""
        there = self.events.index(self.the("message", 4))
        self.events[there]["message"] = message(0, "m4", epoch="e2")
        gap = {k: v for k, v in self.events[there].items() if k != "message"}
        self.events.insert(there, gap | {"e": "gap", "cursor": None})
        self.assertNotIn("another life", " ".join(check(self.events)))

    def test_a_gap_over_what_is_kept(self) -> None:
        self.keep(age=10.0)
        self.the("attach", 1).update(cursor="e1:3", gap=True)
        self.events.remove(self.the("message", 3))
        self.fails("not gone: ('bob', 'hall') was told of a gap over ('hall', 'ann', 'm3')")

    def test_a_gap_that_leads_back(self) -> None:
        self.keep(age=1.0)
        self.the("attach", 1).update(cursor="e1:0", gap=True)
        self.fails("sent back")

    def test_behind(self) -> None:
        self.events.remove(self.the("message", 4))
        self.fails("behind")

    def test_stale(self) -> None:
        fetch = self.the("fetch")
        fetch["messages"].pop()
        self.fails("stale")
        fetch["node"] = "b"  # which acknowledged nothing
        self.assertEqual(check(self.events), [])

    def test_stale_on_any_node_long_after_all_faults(self) -> None:
        fetch = self.the("fetch")
        fetch["messages"].pop()
        fetch.update(node="b", level=True)
        self.fails("stale: b does not show")

    def test_a_fetch_with_a_hole(self) -> None:
        del self.the("fetch")["messages"][2]
        self.fails("not a run")

    def test_nodes_differ(self) -> None:
        self.the("fetch")["messages"][2]["time"] = "2026-11-01T12:00:00.001Z"
        self.fails("differs")

    def test_heard_and_never_said(self) -> None:
        heard = {"e": "heard", "t": 60.0, "room": "hall", "reader": "old", "once": False}
        self.events += [{**heard, "text": "text of m1"}, {**heard, "text": "text of m1"}]
        self.assertEqual(check(self.events), [])
        self.events.append({**heard, "text": "text of m9"})
        self.fails("never said: 'text of m9'")

    def test_heard_twice(self) -> None:
        heard = {"e": "heard", "t": 60.0, "room": "hall", "reader": "old", "once": True}
        self.events += [{**heard, "text": "text of m1"}, {**heard, "text": "text of m1"}]
        self.fails("again: old")

    def test_heard_again_in_a_new_life(self) -> None:
        """Of its room, whose deletion this reader is not told of."""
        heard = {"e": "heard", "room": "hall", "reader": "old", "once": True, "text": "text of m1"}
        deleted = {"e": "deleted", "t": 60.5, "room": "hall"}
        self.events += [{**heard, "t": 60.0}, deleted, {**heard, "t": 61.0}]
        self.assertEqual(check(self.events), [])
        self.events.append({**heard, "t": 62.0})
        self.fails("again: old")

    def test_heard_again_after_another_room_was_deleted(self) -> None:
        heard = {"e": "heard", "room": "hall", "reader": "old", "once": True, "text": "text of m1"}
        deleted = {"e": "deleted", "t": 60.5, "room": "other"}
        self.events += [{**heard, "t": 60.0}, deleted, {**heard, "t": 61.0}]
        self.fails("again: old")

    def test_leaked(self) -> None:
        self.events.append({"e": "stranger", "t": 60.0, "reader": "bob", "room": "hall"})
        self.fails("leaked")

    def test_presence(self) -> None:
        self.the("present")["members"] = ["bob", "ghost"]
        self.fails("presence")


class RetentionTests(Doctored):
    """The good one, with retention."""

    def forget(self, id: str) -> None:
        """Nobody has seen a message."""
        for event in list(self.events):
            if event["e"] == "message" and event["message"]["id"] == id:
                self.events.remove(event)
        shown = self.the("fetch")["messages"]
        shown[:] = [message for message in shown if message["id"] != id]

    def test_what_is_gone_is_not_lost(self) -> None:
        self.keep(age=2.0)
        self.the("attach", 1).update(cursor="e1:3", gap=True)
        self.forget("m3")
        self.assertEqual(check(self.events), [])

    def test_gone_by_size(self) -> None:
        self.keep(size=4 * LARGEST)
        self.the("attach", 1).update(cursor="e1:3", gap=True)
        self.forget("m3")
        self.assertEqual(check(self.events), [])
        self.keep(size=40 * LARGEST)
        self.fails("lost: ('hall', 'ann', 'm3')")

    def test_too_young_to_be_gone(self) -> None:
        self.keep(age=1000.0)
        self.the("attach", 1).update(cursor="e1:3", gap=True)
        self.forget("m3")
        self.fails("lost: ('hall', 'ann', 'm3')")

    def test_a_reader_went_past_it_without_a_gap(self) -> None:
        self.keep(age=2.0)
        self.forget("m3")
        self.fails("lost: ('hall', 'ann', 'm3')")

    def test_a_hole_is_none_of_retentions(self) -> None:
        self.keep(age=2.0)
        self.events.remove(self.the("message", 2))
        self.fails("missed")

    def test_a_repeat_of_what_is_gone(self) -> None:
        again = {"e": "message", "t": 60.0, "room": "hall", "reader": "eve", "node": "a"}
        self.events.append({**again, "message": message(9, "m2")})
        self.fails("twice")
        self.keep(age=40.0)
        self.assertEqual(check(self.events), [])

    def test_a_fetch_that_shows_nothing(self) -> None:
        self.the("fetch")["messages"] = []
        self.fails("stale: a shows nothing")
        self.keep(age=2.0)
        self.assertEqual(check(self.events), [])
        self.keep(age=1000.0)
        self.fails("stale: a shows nothing")


class FileTests(SynchronousTestCase):
    def test_what_is_noted_can_be_loaded(self) -> None:
        path = Path(self.mktemp())
        with path.open("w", encoding="utf-8") as file:
            recorder = Recorder(file)
            recorder.note("message", reader="bob", room="hall", message=message(1))
            recorder.note("fault", what="ключ")
        self.assertEqual(list(load(path)), recorder.events)
        self.assertEqual(json.loads(path.read_text().splitlines()[1])["what"], "ключ")
