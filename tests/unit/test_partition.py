"""A node that is not heard, or hears not all, connects anew."""

from __future__ import annotations

from typing import cast

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import IBroker
from chatd.presence import partition
from chatd.presence.partition import AGAIN, DEAF, SLOWEST, STALE, UNHEARD, PartitionDetector
from chatd.presence.replication import BEAT, MISSED


@define
class FakeBroker:
    ready: bool = True
    reasons: list[str] = field(factory=list)

    def reconnect(self, why: str, again: bool) -> None:
        self.reasons.append(why)


class HearingTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1e6)
        self.broker = FakeBroker()
        self.probes: list[float] = []
        self.hearing = self.node("b")

    def node(self, name: str) -> PartitionDetector:
        return PartitionDetector(name, cast(IBroker, self.broker), self.clock, self.probe)

    def probe(self) -> None:
        self.probes.append(self.clock.seconds())

    def wait(self, seconds: float, *peers: str, beats: bool = True) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1)
            if beats:
                self.hearing.heard("b")
            self.hearing.check(peers)

    def test_who_hears_itself_is_left_alone(self) -> None:
        self.wait(600)
        self.assertEqual(self.broker.reasons, [])

    def test_who_does_not_hear_itself(self) -> None:
        self.wait(DEAF, beats=False)
        self.assertEqual(self.broker.reasons, [])
        self.wait(1, beats=False)
        self.assertEqual(len(self.broker.reasons), 1)

    def test_its_own_probe_shows_nobody_else(self) -> None:
        self.hearing.shown("b")
        self.wait(DEAF, "c", beats=False)
        self.assertEqual((self.probes, self.broker.reasons), ([], []))

    def test_of_few_nodes_it_is_kept_what_they_show_and_of_these_the_newest(self) -> None:
        self.patch(partition, "MOST", 3)
        for _ in range(2):
            for node in "cdef":
                self.hearing.shown(node)
                self.hearing.named(node)
            self.wait(STALE / 2)
        self.assertEqual((list(self.hearing._unheard), list(self.hearing._named)), ([*"cde"],) * 2)

    def test_it_does_not_try_all_the_time(self) -> None:
        self.wait(3600, beats=False)
        self.assertAlmostEqual(len(self.broker.reasons), 3600 / SLOWEST, delta=8)

    def test_who_stood_still_has_missed_nothing(self) -> None:
        """A process that was frozen, or a machine that slept, waits for the next signs."""
        self.wait(5)
        self.clock.advance(60)
        self.hearing.check(())
        self.wait(5)
        self.assertEqual(self.broker.reasons, [])

    def test_nothing_is_expected_while_the_broker_is_away(self) -> None:
        self.broker.ready = False
        self.wait(60, beats=False)
        self.assertEqual(self.broker.reasons, [])

    def test_who_showed_itself_before_the_broker_took_nothing(self) -> None:
        """As in an alarm of RabbitMQ, when no node's signs of life are taken: a connection that can
        still be read from is not given up for that."""
        for peer in "acd":
            self.hearing.shown(peer)
        self.broker.ready = False
        self.wait(STALE - UNHEARD, *"acd", beats=False)
        self.broker.ready = True
        self.wait(UNHEARD - 1, *"acd")
        self.assertEqual(self.broker.reasons, [])

    def test_the_smaller_side_moves(self) -> None:
        self.hearing.shown("c")
        self.hearing.shown("d")
        self.wait(UNHEARD - 1)
        self.assertEqual(self.broker.reasons, [])
        self.wait(2)
        self.assertEqual(len(self.broker.reasons), 1)

    def test_who_hears_all_and_is_heard_by_few_moves(self) -> None:
        self.hearing.told("a", ["c", "d"])
        self.hearing.told("c", ["a", "b", "d"])
        self.wait(DEAF + 1, "a", "c", "d")
        self.assertEqual(self.broker.reasons, [], "one of three does not hear it")
        self.hearing.told("d", ["a", "c"])
        self.wait(DEAF, "a", "c", "d")
        self.assertEqual(self.broker.reasons, [], "it may have just come")
        self.wait(1, "a", "c", "d")
        self.assertEqual(self.broker.reasons, ["most other nodes do not hear this one"])

    def test_who_is_heard_again_stays(self) -> None:
        self.hearing.told("a", [])
        self.wait(DEAF, "a")
        self.hearing.told("a", ["b"])
        self.wait(DEAF + 1, "a")
        self.assertEqual(self.broker.reasons, [])

    def test_the_larger_side_stays(self) -> None:
        self.hearing.shown("a")
        self.wait(STALE + 10, "c")
        self.assertEqual(self.broker.reasons, [])

    def test_the_larger_side_goes_on_showing_itself(self) -> None:
        self.hearing.shown("a")
        self.wait(UNHEARD + 2 * SLOWEST + 2, "c")
        self.assertEqual(len(self.probes), 3)
        self.wait(600, "c")
        self.assertLess(len(self.probes), 6, "a node that died does not come back")

    def test_who_is_not_heard_by_one_goes_on_showing_itself(self) -> None:
        self.hearing.told("a", ["c"])
        self.hearing.told("c", ["a", "b"])
        self.wait(DEAF + 2 * SLOWEST + 3, "a", "c")
        self.assertEqual(len(self.probes), 3)
        self.hearing.told("a", ["b", "c"])
        self.wait(60, "a", "c")
        self.assertEqual(len(self.probes), 3)

    def test_who_goes_on_missing_one_that_shows_itself_moves(self) -> None:
        """By the number of nodes it need not: it hears all others, and is heard by all."""
        self.hearing.shown("a")
        self.wait(SLOWEST, "c", "d")
        self.hearing.shown("a")
        self.wait(5, "c", "d")
        self.assertEqual(self.broker.reasons, [], "it may be on its way")
        self.hearing.shown("a")
        self.wait(1, "c", "d")
        self.assertEqual(self.broker.reasons, ["a node that lives is not heard"])

    def test_whom_others_go_on_to_hear_lives(self) -> None:
        """Even where the directory brings nothing here."""
        for _ in range(6):
            self.hearing.named("a")
            self.wait(5, "c", "d")
        self.assertEqual(self.broker.reasons, ["a node that lives is not heard"])

    def test_who_dies_is_named_by_others_for_a_while(self) -> None:
        for name in ("a", "c"):
            self.hearing.named(name)
        self.wait(MISSED + BEAT, "d")
        for name in ("a", "c"):
            self.hearing.named(name)
        self.wait(120, "d")
        self.assertEqual(self.broker.reasons, [])

    def test_who_died_when_it_had_been_missed_for_long(self) -> None:
        """One attempt to hear it was right; no others are."""
        for show in (self.hearing.named, self.hearing.shown):
            self.broker.reasons.clear()
            for _ in range(6):
                show("a")
                self.wait(5, "c", "d")
            self.assertEqual(len(self.broker.reasons), 1)
            self.wait(200, "c", "d")
            self.assertEqual(len(self.broker.reasons), 1)

    def test_of_two_exactly_one_moves(self) -> None:
        moved = []
        for name, other in (("a", "b"), ("b", "a")):
            self.broker.reasons.clear()
            self.hearing = self.node(name)
            self.hearing.shown(other)
            self.clock.advance(UNHEARD + 1)
            self.hearing.heard(name)
            self.hearing.check(())
            moved.append(len(self.broker.reasons))
        self.assertEqual(sorted(moved), [0, 1])

    def test_who_is_heard_in_time_is_not_missing(self) -> None:
        self.hearing.shown("c")
        self.hearing.shown("d")
        self.hearing.heard("c")
        self.hearing.heard("d")
        self.wait(30)
        self.assertEqual(self.broker.reasons, [])

    def test_a_peer_that_is_believed_to_live_may_be_missing(self) -> None:
        """It is dropped only after a longer silence."""
        self.hearing.shown("c")
        self.hearing.shown("d")
        self.wait(UNHEARD + 1, "c", "d")
        self.assertEqual(len(self.broker.reasons), 1)

    def test_once_more_if_it_did_not_help(self) -> None:
        self.hearing.shown("c")
        self.hearing.shown("d")
        self.wait(UNHEARD + AGAIN + SLOWEST + 2)
        self.assertEqual(len(self.broker.reasons), 3)
        self.wait(600)
        self.assertLess(len(self.broker.reasons), 6, "they died")
