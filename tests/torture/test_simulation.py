"""Some schedules of the simulation, always the same; and that it finds what it is there to find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.read_back import ReadBack
from chatd.protocol.messages import Claim
from chatd.rooms.dating import AHEAD, Dates
from chatd.rooms.deduplication import DeduplicationWindow
from chatd.rooms.subscription import Subscription
from tests.torture.shrink import shortest
from tests.torture.simulate import run
from tests.torture.simulated_schedule import Step, draw

#: Schedules of the suite; ``make simulate`` runs as many as it is told to.
SEEDS, STEPS = range(12), 60


@pytest.mark.parametrize("seed", SEEDS)
def test_a_schedule(seed: int) -> None:
    assert run(seed, draw(seed, STEPS)) == []


class FindingTests(SynchronousTestCase):
    """Faults put into chatd, one at a time: some schedule tells of each."""

    def finds(self, word: str) -> None:
        for seed in SEEDS:
            if any(fault.startswith(word) for fault in run(seed, draw(seed, STEPS))):
                return
        self.fail(f"nothing {word} in {len(SEEDS)} schedules")

    def test_a_confirm_that_is_believed(self) -> None:
        confirmed = ReadBack._confirmed

        def believe(self: ReadBack[int, None], _: None, append: Any, attempt: int) -> None:
            confirmed(self, _, append, attempt)
            for key, one in list(self.under_way.items()):
                if one is append:
                    self.brought(key, None)

        with mock.patch.object(ReadBack, "_confirmed", believe):
            self.finds("lost")

    def test_repeated_ids_that_are_not_known(self) -> None:
        with mock.patch.object(DeduplicationWindow, "repeats", return_value=False):
            self.finds("twice")

    def test_times_by_each_nodes_own_clock(self) -> None:
        def plausible(self: Dates, claim: Claim, claims: Any, i: int, today: int) -> bool:
            return claim.time <= today + AHEAD

        with mock.patch.object(Dates, "_plausible", plausible):
            self.finds("differs")

    def test_the_shortest_schedule_of_what_fails(self) -> None:
        """A broker that stores a record twice, and a message to store: all else is left out."""

        def fails(steps: Sequence[Step]) -> bool:
            return any(fault.startswith("twice") for fault in run(14, steps))

        with mock.patch.object(DeduplicationWindow, "repeats", return_value=False):
            left = shortest(draw(14, 24), fails)
            self.assertTrue(fails(left))
        self.assertLessEqual(len(left), 4)
        self.assertTrue({"append_faults", "say"} <= {step.what for step in left})

    def test_a_gap_that_nobody_is_told_of(self) -> None:
        with mock.patch.object(Subscription, "_tell_gap", return_value=True):
            self.finds("another life")
