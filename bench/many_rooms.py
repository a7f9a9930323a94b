"""Many rooms with two members each: what a message costs must not depend on how many there are.

    python bench/many_rooms.py [--broker sqlite:bench.sqlite] [--rooms 9500] [--few 10]
                               [--settle 1.5] [--rounds 3]

16 messages are under way, each to another room, from ``--settle`` seconds after all have joined.
The ratio is that to a few rooms.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import evolve

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.loads import Figure, Server, alternate, many_files, running
from bench.peers import MESSAGE, chatd_on

#: Times the cost in a few rooms.
GOAL = 1.2


def cost(broker: str, rooms: int, settle: float) -> float:
    """Microseconds of CPU for a message to a room of two, of ``rooms``."""
    chatd, _ = chatd_on(broker)
    names = [f"--room=r{number}" for number in range(rooms)]
    load = [*chatd.load, "--template", MESSAGE.replace("lobby", "r%r")]
    load[load.index("--init") + 1] = '{"type":"join","room":"r%r"}'
    command = chatd.command
    peer = evolve(chatd, load=load, command=lambda *given: [*command(*given), *names])
    with running(peer) as server:
        _await_rest(server)
        shape = ("--n", 2 * rooms, "--rooms", rooms, "--window", 16)
        result = server.run(peer, *shape, "--secs", 2, "--settle", round(settle * 1000))
    if result["missing"]:
        raise SystemExit(f"many_rooms: {result['missing']} messages are missing")
    return 2 * float(result["us_per_deliv"])


def _await_rest(server: Server) -> None:
    """Wait until it has made its rooms: until it has nothing to do."""
    used = -1.0
    while server.cpu() > used:
        used = server.cpu()
        time.sleep(1)


def figures(
    rounds: int,
    broker: str = "sqlite:bench.sqlite",
    rooms: int = 10_000,
    few: int = 10,
    settle: float = 1.5,
) -> Iterator[Figure]:
    """A few rooms, and as many as this process may have files open for."""
    rooms = min(rooms, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 300) // 2)
    kind = broker.partition(":")[0]
    base = ("few", lambda: cost(broker, few, settle))
    many = ("many", lambda: cost(broker, rooms, settle))
    (first, _), (value, ratio) = alternate(f"{rooms:,} rooms", rounds, base, many)
    yield Figure(f"A message in {few} rooms of two, {kind}", first, "us")
    yield Figure(f"A message in {rooms:,} rooms of two, {kind}", value, "us", ratio, "few", GOAL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--broker", default="sqlite:bench.sqlite")
    parser.add_argument("--rooms", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--settle", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    many_files()
    for figure in figures(given.rounds, given.broker, given.rooms, given.few, given.settle):
        print(figure, flush=True)
