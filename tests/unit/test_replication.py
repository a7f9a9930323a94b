"""Presence over several nodes: payloads get lost, nodes die, splits heal."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from chatd.brokers.memory.broker import MemoryBroker
from chatd.presence.payloads import Vitals
from chatd.presence.peers import ASK_AGAIN
from chatd.presence.replication import BEAT, MISSED, PEERS, SILENCE
from chatd.presence.sender import GATHER, PAUSE
from tests.support.world import Site, World

#: Of the neighbours of the first node, whether each is missed, where the third has died.
MISSES_ONE = {"node-1": False, "node-2": True}


class ReplicationCase(TestCase):
    def setUp(self) -> None:
        self.make(3)

    def make(self, nodes: int) -> None:
        self.world = World(nodes=nodes)
        self.world.advance(1)

    def names(self, site: Site, room: str = "lobby") -> list[str]:
        return site.presence.members(room).names

    def all_see(self, *names: str) -> None:
        for site in self.world.sites:
            self.assertEqual(self.names(site), list(names), site.presence.node)

    def enter(self, node: int, user: str) -> None:
        self.world.sites[node].presence.enter("lobby", user)

    def leave(self, node: int, user: str) -> None:
        self.world.sites[node].presence.leave("lobby", user)

    def events(self) -> list[tuple[str, str]]:
        return [
            (event, json.loads(body)["user"])
            for event, _, body in self.world.broker.announced
            if event in ("joined", "left")
        ]

    def latest(self, user: str) -> str:
        """What was announced last of ``user``."""
        return [event for event, whose in self.events() if whose == user][-1]


class StepTests(ReplicationCase):
    def test_told_to_all_nodes_soon(self) -> None:
        for n in range(3):
            self.enter(n, f"u{n}")
        self.world.advance(2 * GATHER)
        self.all_see("u0", "u1", "u2")
        self.leave(1, "u1")
        self.world.advance(2 * GATHER)
        self.all_see("u0", "u2")

    def test_members_on_other_nodes_see_it(self) -> None:
        bob = self.world.join("lobby", "bob", node=2)
        ann = self.world.join("lobby", "ann", node=0)
        self.world.advance(2)
        self.assertEqual(bob.present, {"ann", "bob"})
        ann.session.close()
        self.world.advance(2)
        self.assertEqual(bob.present, {"bob"})

    def test_who_types_on_another_node_is_seen_typing(self) -> None:
        bob = self.world.join("lobby", "bob", node=2)
        ann = self.world.join("lobby", "ann", node=0)
        self.world.advance(2)
        for _ in range(2):
            self.world.begin(ann.session.typing("lobby"))
        self.world.advance(2 * GATHER)
        typed = [[f for f in one.frames if f["type"] == "typing"] for one in (ann, bob)]
        self.assertEqual(typed, [[], [{"type": "typing", "room": "lobby", "user": "ann"}]])

    def test_many_at_once_are_one_payload(self) -> None:
        with mock.patch.object(self.world.broker, "broadcast") as broadcast:
            for n in range(500):
                self.enter(0, f"u{n}")
            self.world.advance(2 * GATHER)
        self.assertEqual(broadcast.call_count, 1)

    def test_a_new_node_asks_who_is_there(self) -> None:
        self.enter(0, "ann")
        self.enter(1, "bob")
        self.world.advance(1)
        self.assertEqual(self.names(self.world.add_site()), ["ann", "bob"])

    def test_on_two_nodes_at_once(self) -> None:
        self.enter(0, "ann")
        self.enter(1, "ann")
        self.world.advance(1)
        self.leave(0, "ann")
        self.world.advance(1)
        self.all_see("ann")
        self.leave(1, "ann")
        self.world.advance(1)
        self.all_see()

    def test_the_same_user_is_announced_once(self) -> None:
        self.enter(0, "ann")
        self.world.advance(1)
        self.enter(1, "ann")
        self.world.advance(1)
        self.leave(0, "ann")
        self.world.advance(1)
        self.leave(1, "ann")
        self.world.advance(1)
        self.assertEqual(self.events(), [("joined", "ann"), ("left", "ann")])

    def test_the_same_user_leaves_two_nodes_at_once(self) -> None:
        """Neither knows yet that it was the last one; it is told once all the same."""
        for nodes in ([0, 1], [1, 2], [0, 1, 2]):
            for n in nodes:
                self.enter(n, "ann")
            self.world.advance(1)
            before = len(self.events())
            for n in nodes:
                self.leave(n, "ann")
            self.world.advance(1)
            self.assertEqual(self.events()[before:], [("left", "ann")])
            self.all_see()

    def test_who_moves_to_another_node_is_announced_there(self) -> None:
        """The one has told that the user left before it heard where the user is now."""
        for others in ([1], [2], [1, 2]):
            self.enter(0, "ann")
            self.world.advance(1)
            before = len(self.events())
            for n in others:
                self.enter(n, "ann")
            self.leave(0, "ann")
            self.world.advance(1)
            self.all_see("ann")
            self.assertEqual(self.events()[before], ("left", "ann"))
            self.assertEqual(self.events()[-1], ("joined", "ann"))
            for n in others:
                self.leave(n, "ann")
            self.world.advance(1)
            self.assertEqual(self.events()[-1], ("left", "ann"))

    def test_who_moves_back_at_once_is_announced(self) -> None:
        """What the other node answers to is told, though it is over before it is told."""
        for comes_back in (True, False):
            self.enter(0, "ann")
            self.world.advance(1)
            self.enter(1, "ann")
            self.world.advance(0.9 * GATHER)
            self.leave(0, "ann")
            self.world.advance(0.5 * GATHER)
            self.enter(0, "ann")
            if not comes_back:
                self.leave(0, "ann")
            self.world.advance(1)
            self.assertEqual(self.events()[-2:], [("left", "ann"), ("joined", "ann")])
            self.all_see("ann")
            for n in (0, 1):
                self.leave(n, "ann")
            self.world.advance(1)
            self.assertEqual(self.events()[-1], ("left", "ann"))

    def test_who_is_announced_in_answer_and_leaves_at_once_is_announced_to_leave(self) -> None:
        """The other node has told already that the user left, before the answer."""
        self.make(2)
        self.enter(0, "ann")
        self.world.advance(1)
        self.leave(0, "ann")
        self.enter(0, "ann")
        with mock.patch.object(MemoryBroker, "broadcast") as on_its_way:
            self.world.advance(1.2 * GATHER)
            self.enter(1, "ann")
            self.leave(0, "ann")
        for call in on_its_way.call_args_list:
            self.world.sites[1].replication.received(call.args[0])
        self.leave(1, "ann")
        self.world.advance(1)
        self.all_see()
        self.assertEqual(self.events()[-1], ("left", "ann"))

    def test_who_comes_while_others_of_the_same_name_leave_is_announced(self) -> None:
        """Two nodes with the user each think that the other keeps the user, and a third one too."""
        for n in (0, 1):
            self.enter(n, "ann")
            self.world.advance(1)
        for n in (0, 1):
            self.leave(n, "ann")
        self.world.advance(0.5 * GATHER)
        self.enter(2, "ann")
        self.world.advance(1)
        self.assertEqual(self.events(), [("joined", "ann"), ("left", "ann"), ("joined", "ann")])

    def test_who_was_taken_for_gone_is_announced_again(self) -> None:
        """Whichever node is cut off, the others give it up."""
        for cut in range(3):
            self.make(3)
            for user, node in (("ann", cut), ("bob", cut), ("cid", (cut + 1) % 3)):
                self.enter(node, user)
            self.world.advance(1)
            apart = self.world.sites[cut].broker
            apart.interrupt()
            self.world.advance(30)
            self.assertEqual(self.latest("ann"), "left")
            self.leave(cut, "bob")
            apart.resume()
            self.world.advance(3 * BEAT)
            self.all_see("ann", "cid")
            latest = {user: self.latest(user) for user in ("ann", "bob", "cid")}
            self.assertEqual(latest, {"ann": "joined", "bob": "left", "cid": "joined"})
            self.leave(cut, "ann")
            self.world.advance(1)
            self.assertEqual(self.latest("ann"), "left")

    def test_who_comes_and_goes_while_the_broker_is_away_is_announced_once_it_is_back(self) -> None:
        for nodes in (1, 3):
            self.make(nodes)
            for user in ("ann", "bob"):
                self.enter(0, user)
            self.world.advance(1)
            for site in self.world.sites:
                site.broker.interrupt()
            self.leave(0, "ann")
            self.enter(0, "new")
            for move in (self.leave, self.enter):  # of whom nothing is new in the end
                move(0, "bob")
            self.world.advance(2)
            for site in self.world.sites:
                site.broker.resume()
            self.world.advance(10)
            latest = {user: self.latest(user) for user in ("ann", "bob", "new")}
            self.assertEqual(latest, {"ann": "left", "bob": "joined", "new": "joined"})

    @settings(deadline=None, max_examples=25)
    @given(st.lists(st.tuples(st.integers(1, 2), *2 * [st.sampled_from([0.0, 0.3, 0.7, 1.5])])))
    def test_the_latest_event_holds(self, moves: list[tuple[int, float, float]]) -> None:
        """However a user moves about on three nodes."""
        self.make(3)
        at = 0
        self.enter(at, "ann")
        for by, wait, rest in moves:
            self.leave(at, "ann")
            self.world.advance(wait * GATHER)
            at = (at + by) % 3
            self.enter(at, "ann")
            self.world.advance(rest * GATHER)
        self.world.advance(1)
        self.assertEqual(self.events()[-1], ("joined", "ann"))
        self.leave(at, "ann")
        self.world.advance(1)
        self.assertEqual(self.events()[-1], ("left", "ann"))

    @settings(deadline=None, max_examples=25)
    @example(["+0", "+2", "~", "/2", "-0", "-2"])  # each thinks the user is on the other
    @example(["+2", "~", "-2", "/2", "+1", "~", "*2"])  # who left is still on two boards
    @example(["+2", "~", "-2", "/2", "+1", "~", "#", "*2"])
    @example(["+1", "~", "/1", "-1", "#", "+0"])
    @example(["+1", "/1", "+0", "~", "-0"])  # they do not know that the user came
    @given(st.lists(st.sampled_from([f"{do}{node}" for do in "+-/*" for node in range(3)] + ["~"])))
    def test_the_latest_event_holds_whoever_is_cut_off(self, steps: list[str]) -> None:
        """A user comes to nodes and leaves them (``+-``), which are cut off and connected again
        (``/*``); meanwhile a second passes (``~``), or half a minute (``#``)."""
        self.make(3)
        times = [0, 0, 0]
        for step in steps:
            node = int(step[1:] or 0)
            if step[0] == "+":
                times[node] += 1
                self.enter(node, "ann")
            elif step[0] == "-" and times[node]:
                times[node] -= 1
                self.leave(node, "ann")
            elif step[0] in "/*":
                broker = self.world.sites[node].broker
                broker.interrupt() if step[0] == "/" else broker.resume()
            self.world.advance({"~": 1.0, "#": 30.0}.get(step, 0.0))
        for site in self.world.sites:
            site.broker.resume()
        self.world.advance(4 * BEAT)
        self.all_see(*["ann"] * any(times))
        told = any(user == "ann" for _, user in self.events())
        self.assertEqual(told and self.latest("ann") == "joined", any(times))

    def test_who_left_a_node_that_stops_is_announced_once(self) -> None:
        self.enter(2, "ann")
        self.enter(2, "bob")
        self.world.advance(1)
        self.enter(0, "bob")
        for user in ("ann", "bob"):
            self.leave(2, user)
        self.world.sites[2].replication.stop()
        self.world.advance(1)
        told = [("left", "ann"), ("left", "bob"), ("joined", "bob")]
        self.assertEqual(self.events(), [("joined", "ann"), ("joined", "bob"), *told])

    def test_who_is_still_here_when_a_node_stops_is_announced_to_leave(self) -> None:
        """Once, also if nobody is there to hear of it, and the user's connection ends later."""
        for nodes in (1, 3):
            self.make(nodes)
            self.enter(0, "ann")
            self.world.advance(1)
            self.world.sites[0].replication.stop()
            self.leave(0, "ann")
            self.world.advance(1)
            self.assertEqual(self.events(), [("joined", "ann"), ("left", "ann")])
            for site in self.world.sites[1:]:
                self.assertEqual(self.names(site), [])


class CrowdTests(ReplicationCase):
    """More names than one payload may carry."""

    NUMBER = 12_000

    def setUp(self) -> None:
        self.make(2)
        self.sizes: list[int] = []
        broadcast = MemoryBroker.broadcast

        def cut(broker: MemoryBroker, payload: bytes) -> None:
            self.sizes.append(len(payload))
            broadcast(broker, payload[: 256 * 1024])

        self.patch(MemoryBroker, "broadcast", cut)

    def fill(self) -> None:
        for n in range(self.NUMBER):
            for room in ("lobby", "news"):
                self.world.sites[0].presence.enter(room, f"guest-{n:06x}")

    def wait(self, seconds: int) -> None:
        """In steps as small as the pauses between parts."""
        self.world.clock.pump([PAUSE] * int(seconds / PAUSE))

    def see(self, site: Site) -> None:
        for room in ("lobby", "news"):
            self.assertEqual(site.presence.count(room), self.NUMBER)

    def test_a_mass_of_changes(self) -> None:
        self.fill()
        self.wait(2)
        self.see(self.world.sites[1])
        self.assertLess(max(self.sizes), 256 * 1024)

    def test_a_snapshot_for_a_node_that_comes_later_while_there_are_changes(self) -> None:
        self.fill()
        self.wait(2)
        self.sizes.clear()
        third = self.world.add_site()
        fourth = self.world.add_site()
        self.enter(0, "late")
        self.leave(0, "guest-000000")
        self.wait(6)
        for site in (third, fourth):
            self.see(site)
            self.assertTrue(site.presence.here("lobby", "late"))
            self.assertFalse(site.presence.here("lobby", "guest-000000"))
        self.assertLess(max(self.sizes), 256 * 1024)
        self.assertLess(sum(self.sizes), 3 * 1024 * 1024)


class DeathTests(ReplicationCase):
    def test_goodbye_takes_effect_at_once(self) -> None:
        self.enter(2, "ann")
        self.world.advance(1)
        gone = self.world.sites.pop()
        gone.replication.stop()
        gone.stop()
        self.world.advance(0.1)
        self.all_see()

    def test_a_node_that_dies_is_missed_within_half_a_minute(self) -> None:
        self.enter(0, "zoe")
        self.enter(2, "ann")
        self.world.advance(1)
        self.world.sites.pop().die()
        self.world.advance(10)
        self.all_see("ann", "zoe")
        self.world.advance(20)
        self.all_see("zoe")
        self.assertEqual(self.world.sites[0].replication.nodes, ["node-0", "node-1"])
        self.assertEqual(self.events()[-1], ("left", "ann"))
        self.assertEqual(self.events().count(("left", "ann")), 1)

    def test_nobody_is_missed_while_the_broker_is_away(self) -> None:
        self.enter(1, "bob")
        self.world.advance(1)
        for site in self.world.sites:
            site.broker.interrupt()
        self.world.advance(120)
        for site in self.world.sites:
            site.broker.resume()
        self.world.turn()
        self.all_see("bob")
        self.world.advance(60)
        self.all_see("bob")

    def test_nobody_is_missed_while_all_stand_still(self) -> None:
        """A machine sleeps, or what it runs on is moved."""
        for n in range(3):
            self.enter(n, f"u{n}")
        self.world.advance(1)
        self.world.clock.advance(60)
        self.world.advance(1)
        self.all_see("u0", "u1", "u2")
        self.assertNotIn("left", [event for event, _ in self.events()])

    def test_who_dies_is_missed_by_a_node_that_connects_anew_time_and_again(self) -> None:
        self.enter(2, "ann")
        self.world.advance(1)
        self.world.sites.pop().die()
        [anew, _] = self.world.sites
        for _ in range(3):
            self.world.advance(14)
            anew.broker.interrupt()
            self.world.advance(BEAT + 1)
            anew.broker.resume()
        self.all_see()

    def test_all_who_lost_the_broker_are_waited_for(self) -> None:
        """It served nobody for a while before the connections were lost."""
        [early, late, _] = self.world.sites
        self.enter(1, "bob")
        self.world.advance(1)
        with mock.patch.object(MemoryBroker, "broadcast"):
            self.world.advance(15)
        for site in (early, late):
            site.broker.interrupt()
        self.world.advance(2)
        early.broker.resume()
        self.world.advance(5)
        late.broker.resume()
        self.world.advance(BEAT)
        self.all_see("bob")
        self.assertNotIn(("left", "bob"), self.events())


class LossTests(ReplicationCase):
    def lossy(self, lost: Callable[[dict[str, Any]], bool]) -> AbstractContextManager[Any]:
        """While it is entered, payloads for which ``lost(payload)`` is true reach nobody."""
        broadcast = MemoryBroker.broadcast

        def sometimes(broker: MemoryBroker, payload: bytes) -> None:
            if not lost(json.loads(payload)):
                broadcast(broker, payload)

        return mock.patch.object(MemoryBroker, "broadcast", sometimes)

    def test_a_lost_change_is_found_out_and_mended(self) -> None:
        with self.lossy(lambda payload: payload["kind"] == "changes"):
            self.enter(0, "ann")
            self.world.advance(1)
        self.assertEqual(self.names(self.world.sites[1]), [])
        self.world.advance(BEAT + 1)
        self.all_see("ann")

    def test_a_lost_leave(self) -> None:
        self.enter(0, "ann")
        self.world.advance(1)
        with self.lossy(lambda payload: payload["kind"] == "changes"):
            self.leave(0, "ann")
            self.world.advance(1)
        self.enter(0, "bob")
        self.world.advance(BEAT + 1)
        self.all_see("bob")

    def test_the_snapshot_itself_is_lost(self) -> None:
        self.enter(0, "ann")
        self.world.advance(1)
        with self.lossy(lambda payload: payload["kind"] == "snapshot"):
            self.world.add_site()
            self.world.advance(20)
        self.world.advance(2 * BEAT)
        self.all_see("ann")

    def test_everything_is_lost_for_a_while(self) -> None:
        self.enter(0, "ann")
        self.enter(1, "bob")
        self.world.advance(1)
        with self.lossy(lambda payload: True):
            self.leave(0, "ann")
            self.enter(2, "cid")
            self.world.advance(60)
            self.assertEqual(self.names(self.world.sites[1]), ["bob"])
        self.world.advance(3 * BEAT)
        self.all_see("bob", "cid")

    def test_a_split_heals(self) -> None:
        self.enter(0, "ann")
        self.enter(2, "cid")
        self.world.advance(1)
        apart = self.world.sites[2].broker
        apart.interrupt()
        self.world.advance(60)
        self.assertEqual(self.names(self.world.sites[0]), ["ann"])
        self.enter(1, "bob")
        self.leave(2, "cid")
        self.enter(2, "dan")
        self.world.advance(10)
        apart.resume()
        self.world.advance(3 * BEAT)
        self.all_see("ann", "bob", "dan")

    def test_whom_only_others_hear_is_missed(self) -> None:
        """One way between two nodes is lost, to those on either end of it only."""
        deaf, others = self.world.sites[1], self.world.sites
        receive = deaf.replication.received

        def deafened(payload: bytes) -> None:
            if json.loads(payload)["node"] != others[0].presence.node:
                receive(payload)

        with (
            mock.patch.object(deaf.broker, "_handlers", [deafened]),
            mock.patch.object(MemoryBroker, "reconnect") as reconnect,
        ):
            for _ in range(60):
                self.world.advance(1)
        self.assertEqual(
            reconnect.call_args_list[0].args, ("a node that lives is not heard", False)
        )

    def test_a_part_of_a_snapshot_is_lost(self) -> None:
        for n in range(3000):
            self.enter(0, f"somebody-with-a-long-name-{n}")
        self.world.advance(1)
        for lost in range(4):
            with self.lossy(partial(_is_part, lost)):
                later = self.world.add_site()
                self.world.advance(3)
                self.assertEqual(later.presence.count("lobby"), 0)
            self.world.advance(3 * BEAT)
            self.assertEqual(later.presence.count("lobby"), 3000)

    def test_who_asks_in_vain_asks_less_often(self) -> None:
        asked: list[bytes] = []
        other = self.world.sites[1]
        with mock.patch.object(other.broker, "broadcast", asked.append):
            for n in range(600):
                payload = {"node": "node-0", "n": 10 + n, "kind": "beat"}
                other.replication.received(json.dumps(payload).encode())
                self.world.clock.advance(0.1)
        asks = [payload for payload in asked if json.loads(payload)["kind"] == "ask"]
        self.assertIn(len(asks), range(8, 13))

    def test_who_cannot_hear_keeps_nobody_from_being_heard(self) -> None:
        """A node that starts, and gets no queue at the broker, though it can publish."""
        for away in (False, True):
            self.make(1)
            here = self.world.sites[0]
            deaf = Site("deaf", MemoryBroker(self.world.clock), self.world.clock, self.world)
            deaf.start()
            self.addCleanup(deaf.stop)
            if away:
                deaf.broker.interrupt()
            with (
                mock.patch.object(deaf.broker, "broadcast", here.replication.received),
                mock.patch.object(here.broker, "reconnect") as reconnect,
            ):
                self.world.advance(6 * BEAT)
            self.assertEqual(here.replication.others, 1)
            self.assertEqual(reconnect.called, not away)

    def test_what_is_no_payload_is_ignored_and_logged(self) -> None:
        self.enter(0, "ann")
        self.world.advance(1)
        number = self.world.sites[0].replication._sender._number + 1
        with capturedLogs() as events:
            for payload in (
                b"junk",
                b"{}",
                b'{"node":"x","n":"one","kind":"beat"}',
                b'{"node":"x","n":1,"kind":"snapshot","rooms":[]}',
                b'{"node":"x","n":1,"kind":"snapshot","rooms":{"lobby":[""]}}',
                b'{"node":"node-0","n":%d,"kind":"changes"}' % number,
                b'{"node":"x","n":1e999,"kind":"beat"}',
                b'{"node":"x","n":-1e999,"kind":"beat"}',
                b'{"node":"x","n":true,"kind":"beat"}',
                b'{"node":"x","n":1,"kind":"snapshot","part":1e999,"of":1,"rooms":{}}',
                b'{"node":"x","n":1,"kind":"snapshot","part":0,"of":1e999,"rooms":{}}',
                b'{"node":"x","n":1,"kind":"snapshot","part":0,"of":1,"rooms":{"lobby":7}}',
                b'{"node":"x","n":1,"kind":"snapshot","part":0,"of":1,"rooms":{"lobby":[1e999]}}',
                b'{"node":"node-0","n":%d,"kind":"changes","changes":[1e999]}' % number,
                b'{"node":"node-0","n":%d,"kind":"changes","changes":[["lobby",1,true,true]]}'
                % number,
                b'{"node":"node-0","n":1,"kind":"typing","typing":7}',
                b'{"node":"%s","n":1,"kind":"beat"}' % (b"x" * 1000),
                b'{"node":{"x":1},"n":1,"kind":"beat"}',
                b'{"node":"x","n":1,"kind":"beat"' + b"[" * 100_000,
            ):
                skipped = self.skipped()
                self.world.sites[1].replication.received(payload)
                self.assertEqual(self.skipped(), skipped + 1, payload)
        self.assertGreaterEqual(len(events), 5)
        self.assertFalse([e for e in events if "log_failure" in e])
        # of a kind that was said already
        with capturedLogs() as events:
            self.world.sites[1].replication.received(b"more junk")
        self.assertEqual(events, [])
        self.world.sites[1].replication.received(
            b'{"node":"node-0","n":99,"kind":"of a later time"}'
        )
        self.world.advance(3 * BEAT)
        self.all_see("ann")

    def test_what_nodes_say_of_themselves(self) -> None:
        """Those of older versions say less, and what cannot be is not believed."""
        said = Vitals("2.0", clients=3, behind=2, rooms=1)
        first, other = self.world.sites[0], self.world.sites[1]
        first.replication.vitals = lambda: said
        self.world.advance(BEAT)
        odd = {"node": "old", "n": 0, "kind": "beat"}
        for payload in (odd, odd | {"node": "odd", "vitals": {"clients": -1, "rooms": 7}}):
            other.replication.received(json.dumps(payload).encode())
        neighbours = other.replication.neighbours()
        self.assertEqual([one.ago for one in neighbours if one.name in ("odd", "old")], [0, 0])
        found = {one.name: one.vitals for one in neighbours}
        self.assertEqual(
            found, {"node-0": said, "node-2": Vitals(), "odd": Vitals(rooms=7), "old": Vitals()}
        )

    def test_one_that_is_not_heard_is_missed_and_then_dropped(self) -> None:
        first, silent = self.world.sites[0].replication, mock.Mock()
        first.on_silent = silent
        self.world.sites[2].die()
        self.pass_(MISSED + 2)
        self.assertEqual({one.name: one.missed for one in first.neighbours()}, MISSES_ONE)
        self.assertEqual((first.others, silent.call_count), (1, 1))
        self.pass_(SILENCE - MISSED)
        self.assertEqual(first.nodes, ["node-0", "node-1"])

    def test_while_nothing_can_be_heard_no_silence_grows(self) -> None:
        """That of before counts on."""
        first = self.world.sites[0]
        for site in self.world.sites[1:]:
            site.die()
        self.pass_(5)
        before = [one.ago for one in first.replication.neighbours()]
        first.broker.interrupt()
        self.pass_(30)
        for one, ago in zip(first.replication.neighbours(), before, strict=True):
            self.assertAlmostEqual(one.ago, ago, delta=2)
            self.assertFalse(one.missed)

    def pass_(self, seconds: float) -> None:
        self.world.clock.pump([1.0] * round(seconds))

    def test_who_is_just_telling_all_is_not_asked_to(self) -> None:
        asked: list[bytes] = []
        other = self.world.sites[1]
        part = {"node": "new", "n": 7, "kind": "snapshot", "rooms": {}, "part": 0, "of": 2}
        with mock.patch.object(other.broker, "broadcast", asked.append):
            other.replication.received(json.dumps(part).encode())
            self.assertEqual(asked, [])
            self.world.clock.advance(ASK_AGAIN)
            beat = {"node": "new", "n": 7, "kind": "beat"}
            other.replication.received(json.dumps(beat).encode())
        kinds = [one["kind"] for one in map(json.loads, asked) if one["node"] == "node-1"]
        self.assertEqual(kinds.count("ask"), 1)

    def test_one_that_has_stopped_looks_no_more(self) -> None:
        self.make(1)
        replication = self.world.sites[0].replication
        replication.stop()
        with mock.patch.object(self.world.broker, "broadcast", side_effect=AssertionError):
            self.world.advance(60)
        calls: Any = self.world.clock.getDelayedCalls()
        self.assertNotIn(replication._look, [one.func for one in calls])

    def skipped(self) -> float:
        registry = self.world.sites[1].metrics.registry
        return registry.get_sample_value("chatd_bad_events_total") or 0

    def test_nodes_are_not_believed_in_without_end(self) -> None:
        replication = self.world.sites[1].replication
        for n in range(2 * PEERS):
            replication.received(json.dumps({"node": f"x{n}", "n": 1, "kind": "beat"}).encode())
        self.assertLessEqual(len(replication.nodes), PEERS + 1)

    def test_a_flood_of_losses_asks_no_more_than_once_a_second(self) -> None:
        asked: list[bytes] = []
        other = self.world.sites[1]
        with mock.patch.object(other.broker, "broadcast", asked.append):
            for n in range(10, 200, 2):
                payload = {"node": "node-0", "n": n, "kind": "beat"}
                other.replication.received(json.dumps(payload).encode())
        self.assertEqual([json.loads(one)["kind"] for one in asked], ["ask"])

    @settings(deadline=None, max_examples=25)
    @given(st.data())
    def test_whatever_is_lost_all_agree_in_the_end(self, data: st.DataObject) -> None:
        self.make(3)
        counts: dict[tuple[int, str], int] = {}
        with self.lossy(lambda payload: data.draw(st.booleans())):
            for _ in range(data.draw(st.integers(1, 12))):
                node, user = data.draw(st.tuples(st.integers(0, 2), st.sampled_from("ab")))
                if data.draw(st.booleans()):
                    self.enter(node, user)
                    counts[node, user] = counts.get((node, user), 0) + 1
                elif counts.get((node, user)):
                    self.leave(node, user)
                    counts[node, user] -= 1
                self.world.advance(data.draw(st.sampled_from([0, 0.1, 3])))
        self.world.advance(3 * BEAT)
        self.all_see(*sorted({user for (_, user), count in counts.items() if count}))


def _is_part(number: int, payload: dict[str, Any]) -> bool:
    return payload.get("part") == number
