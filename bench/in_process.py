"""A node in the process of the benchmark itself, without sockets."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from attrs import asdict
from twisted.internet.defer import maybeDeferred

from bench.loads import Figure
from chatd.brokers.interfaces import Retention
from chatd.brokers.registry import broker_at
from chatd.service.domain import Domain, compose
from chatd.telemetry.metrics import Metrics
from chatd.timing.wall import WallClock
from tests.support.waiting import until

#: A room that is there.
ROOM = "bench"


@asynccontextmanager
async def node(reactor: Any, address: str, where: str | None = None) -> AsyncIterator[Domain]:
    """A node on the broker at ``address``, where FILE is a new file, in the folder ``where``."""
    with tempfile.TemporaryDirectory(dir=where) as folder:
        address = address.replace("FILE", f"{folder}/bench.sqlite")
        broker = broker_at(reactor, WallClock(reactor), address, Retention())
        domain = compose(reactor, broker, "bench", Metrics(), Retention())
        broker.startService()
        domain.directory.start()
        await until(lambda: domain.directory.loaded)
        await domain.directory.create(ROOM)
        try:
            yield domain
        finally:
            domain.directory.stop()
            await maybeDeferred(broker.stopService)


def tell(figures: Iterable[Figure], as_json: bool) -> None:
    """Print figures: for people, or a line of JSON each."""
    for figure in figures:
        print(json.dumps(asdict(figure)) if as_json else figure, flush=True)
