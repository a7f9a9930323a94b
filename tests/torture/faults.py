"""A seeded schedule of faults. Each breaks something, waits, and mends it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable, Collection
from itertools import count

from attrs import frozen

from tests.support.rabbit import Node as RabbitNode
from tests.torture.history import Recorder
from tests.torture.site import Site

Break = Callable[[Site, random.Random, str], Awaitable[str]]


@frozen
class Fault:
    """Something that breaks; ``needs`` is how many brokers it takes."""

    name: str
    do: Break
    needs: int = 0


async def _kill_node(site: Site, chance: random.Random, room: str) -> str:
    return await _end(site, chance, "kill")


async def _stop_node(site: Site, chance: random.Random, room: str) -> str:
    return await _end(site, chance, "stop")


async def _end(site: Site, chance: random.Random, how: str) -> str:
    node = chance.choice(site.nodes)
    node.running = False
    await asyncio.to_thread(getattr(node.daemon, how))
    await asyncio.sleep(chance.uniform(0, 3))
    await asyncio.to_thread(node.daemon.start)
    node.running = True
    return node.name


async def _freeze_node(site: Site, chance: random.Random, room: str) -> str:
    node = chance.choice(site.nodes)
    os.kill(node.daemon.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(chance.uniform(0.5, 8))
    finally:
        os.kill(node.daemon.pid, signal.SIGCONT)
    return node.name


async def _kill_leader(site: Site, chance: random.Random, room: str) -> str:
    rabbit = await asyncio.to_thread(site.leader, room) or chance.choice(site.rabbits)
    await asyncio.to_thread(rabbit.kill)
    await asyncio.sleep(chance.uniform(0, 6))
    await _start(rabbit)
    return f"{rabbit.name}, the leader of {room}"


async def _stop_broker(site: Site, chance: random.Random, room: str) -> str:
    rabbit = chance.choice(site.rabbits)
    await asyncio.to_thread(rabbit.stop)
    await asyncio.sleep(chance.uniform(0, 4))
    await _start(rabbit)
    return rabbit.name


async def _freeze_broker(site: Site, chance: random.Random, room: str) -> str:
    rabbit = await asyncio.to_thread(site.leader, room) or chance.choice(site.rabbits)
    rabbit.freeze()
    try:
        await asyncio.sleep(chance.uniform(0.5, 12))
    finally:
        rabbit.thaw()
    return rabbit.name


async def _start(rabbit: RabbitNode) -> None:
    rabbit.start(wait=False)
    await asyncio.to_thread(rabbit.wait)


async def _close_connections(site: Site, chance: random.Random, room: str) -> str:
    rabbit = chance.choice(site.rabbits)
    await asyncio.to_thread(
        rabbit.eval,
        '[rabbit_networking:close_connection(P, <<"torture">>)'
        " || P <- rabbit_networking:connections()]",
    )
    return rabbit.name


async def _memory_alarm(site: Site, chance: random.Random, room: str) -> str:
    rabbit = chance.choice(site.rabbits)
    await asyncio.to_thread(rabbit.alarm, True)
    try:
        await asyncio.sleep(chance.uniform(0.5, 6))
    finally:
        await asyncio.to_thread(rabbit.alarm, False)
    return rabbit.name


async def _unbind(site: Site, chance: random.Random, room: str) -> str:
    rabbit = chance.choice(site.rabbits)
    await asyncio.to_thread(
        rabbit.eval,
        'X = rabbit_misc:r(<<"/">>, exchange, <<"chatd">>),'
        '[rabbit_binding:remove(B, <<"torture">>) || B <- rabbit_binding:list_for_source(X)]',
    )
    return "all bindings of chatd"


async def _delete_exchange(site: Site, chance: random.Random, room: str) -> str:
    rabbit = chance.choice(site.rabbits)
    await asyncio.to_thread(
        rabbit.eval,
        'X = rabbit_misc:r(<<"/">>, exchange, <<"chatd">>),'
        'rabbit_exchange:delete(X, false, <<"torture">>)',
    )
    return "the exchange chatd"


FAULTS = (
    Fault("a node is killed", _kill_node),
    Fault("a node is stopped in order", _stop_node),
    Fault("a node is frozen", _freeze_node),
    Fault("a leader is killed", _kill_leader, 3),
    Fault("a leader is killed", _kill_leader, 3),
    Fault("a broker is killed", _kill_leader, 1),
    Fault("a broker is stopped in order", _stop_broker, 1),
    Fault("a broker is frozen", _freeze_broker, 1),
    Fault("connections are closed", _close_connections, 1),
    Fault("a memory alarm", _memory_alarm, 1),
    Fault("bindings are removed", _unbind, 1),
    Fault("the exchange is deleted", _delete_exchange, 1),
)


class Schedule:
    """Breaks one thing after the other until told to stop; the same seed, the same schedule.

    Each fault is drawn by its number. With ``keep`` only the faults of these numbers happen, as
    they would among the others.
    """

    def __init__(
        self,
        site: Site,
        rooms: list[str],
        recorder: Recorder,
        seed: int,
        only: str = "",
        keep: Collection[int] | None = None,
    ) -> None:
        self._site = site
        self._rooms = rooms
        self._note = recorder.note
        self._seed = seed
        self._keep = keep
        brokers = len(site.rabbits)
        self._faults = [f for f in FAULTS if f.needs <= brokers and only in f.name]
        self.broken = 0
        self.stopping = False

    async def run(self) -> None:
        """Break and mend, until told to stop; what is broken then is mended first."""
        for number in count() if self._keep is None else sorted(self._keep):
            chance = random.Random(f"faults-{self._seed}-{number}")
            await asyncio.sleep(chance.uniform(1, 6))
            if self.stopping:
                return
            fault, room = chance.choice(self._faults), chance.choice(self._rooms)
            self._note("fault", what=fault.name, number=number, begins=True)
            self.broken = number + 1
            with contextlib.suppress(RuntimeError):
                where = await fault.do(self._site, chance, room)
                self._note("fault", what=fault.name, number=number, where=where, begins=False)
