"""A few seconds of torture on SQLite; ``make torture`` goes on for hours, on all brokers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tests.torture.checker import check
from tests.torture.history import Recorder
from tests.torture.recovery import plot, recoveries, table
from tests.torture.site import Plan, Site

SECONDS, SEED = 5.0, 3


def test_a_short_run() -> None:
    # aiohttp comes with it, which no other process of the tests should have to load
    from tests.torture.run import Run

    recorder, rooms = Recorder(), ["hall"]
    site = Site.make(Plan(rooms=rooms))
    try:
        run = Run(site, recorder, SEED, rooms)
        with ThreadPoolExecutor(1) as alone:  # a browser of other tests may have its loop here
            alone.submit(asyncio.run, run.torture(SECONDS)).result()
    finally:
        site.close()
    assert check(recorder.events) == []
    assert run.schedule.broken
    times = {("sqlite", fault): seconds for fault, seconds in recoveries(recorder.events).items()}
    assert times
    assert all(fault in table(times) and fault in plot(times) for _, fault in times)
