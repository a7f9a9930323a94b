"""The table of faults, and what is done with schedules of them, without a process."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any
from unittest import mock

import pytest

from tests.torture import schedule
from tests.torture.checker import check
from tests.torture.faults import FAULTS, Fault
from tests.torture.history import Event, Recorder
from tests.torture.schedule import Schedule
from tests.torture.site import Site


class Lost(Fault):
    """What was acknowledged is gone; never drawn, for it fits no site."""

    name = "a message is lost"

    @classmethod
    def fits(cls, site: Site) -> bool:
        return False

    async def happen(self, site: Site, chance: Random, room: str) -> str:
        return room


class Harmless(Lost):
    name = "nothing happens"


def test_each_fault_has_a_name_and_says_what_it_is() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    defined = {fault.__module__ for fault in FAULTS} - {__name__}
    assert defined == {module.__name__ for module in schedule.MODULES}


@pytest.mark.parametrize(("brokers", "least"), [(0, 6), (1, 12), (3, 20)])
def test_what_fits_a_site(brokers: int, least: int) -> None:
    site = Site([], [mock.Mock()] * brokers, lambda: None)
    site.close()
    fitting = [fault for fault in FAULTS if fault.fits(site)]
    assert len(fitting) >= least
    assert all(fault.brokers <= brokers for fault in fitting)


def torture(seed: int, keep: Sequence[int] | None) -> list[Event]:
    """The history of a schedule of harmless faults, but for one kind, on no time."""
    recorder, site = Recorder(), Site([], [], lambda: None)
    site.close()
    with mock.patch.object(schedule, "FAULTS", [Lost, Harmless, Harmless, Harmless]):
        with mock.patch.object(Lost, "fits", return_value=True):
            drawn = Schedule(site, ["hall"], recorder, seed, keep=keep)

        async def no_time(seconds: float) -> None:
            drawn.stopping = drawn.broken == 16

        # a browser of other tests may have its loop in this thread
        with mock.patch.object(asyncio, "sleep", no_time), ThreadPoolExecutor(1) as alone:
            alone.submit(asyncio.run, drawn.run()).result()
    return recorder.events


def judged(events: list[Event]) -> list[str]:
    """What the checker says, where each fault of one kind loses a message that was acknowledged."""
    said: dict[str, Any] = {"room": "hall", "user": "ann", "node": "a"}
    for event in list(events):
        if event["e"] == "fault" and not event["begins"] and event["what"] == Lost.name:
            about = {**said, "id": f"m{event['number']}", "t": event["t"]}
            events.append({"e": "publish", "connection": "ann", **about})
            events.append({"e": "answer", "result": "stored", **about})
    return check(events)


def test_a_failing_schedule_is_shrunk(capsys: pytest.CaptureFixture[str]) -> None:
    # aiohttp comes with it, which no other process of the tests should have to load
    from tests.torture import __main__ as program

    events = torture(7, None)
    culprits = [e["number"] for e in events if e["what"] == Lost.name and not e["begins"]]
    assert len(culprits) > 1
    assert judged(events)
    attempts = mock.Mock(side_effect=lambda given, keep: judged(torture(7, keep)))
    with mock.patch.object(program, "attempt", attempts):
        program.shrink(argparse.Namespace(broken=16))
    said = capsys.readouterr().out
    assert said in [f"--keep {number}\n" for number in culprits]
    assert judged(torture(7, [int(said.split()[1])]))
