"""Run it: processes, clients, faults, and the verdict of the checker."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.torture.checker import check
from tests.torture.history import Recorder, in_order
from tests.torture.run import Run, summary
from tests.torture.shrink import shortest
from tests.torture.site import ChatNode, Plan, Site


def attempt(given: argparse.Namespace, keep: Sequence[int] | None) -> list[str]:
    """One run on processes of its own; what is wrong. With ``keep`` only these faults happen."""
    file = given.history.open("w", encoding="utf-8") if given.history else None
    recorder = Recorder(file)
    rooms = [f"room{n}" for n in range(given.rooms)]
    plan = Plan(
        given.broker,
        given.nodes,
        rooms,
        faulty=True,
        clocks=given.clocks,
        tokens=given.tokens,
        retain=given.retain,
    )
    site = Site.make(plan)
    try:
        run = Run(site, recorder, given.seed, rooms, given.only, keep, neighbours=True)
        asyncio.run(run.torture(given.seconds))
        faults = check(in_order(recorder.events))
        print(f"\n{given.broker}, seed {given.seed}: {summary(run, recorder.events)}")
        given.broken = run.schedule.broken
        if faults:
            keep_logs(site.nodes)
    finally:
        site.close()
        if file is not None:
            file.close()
    return faults


def shrink(given: argparse.Namespace) -> None:
    """Say which faults of a failing schedule it takes; what fails by chance may need all."""
    broken = range(given.broken)

    def fails(keep: Sequence[int]) -> bool:
        return bool(attempt(given, keep))

    print(f"--keep {','.join(map(str, shortest(broken, fails)))}")


def main() -> int:
    """Read the command line, torture, and say what the checker found."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--broker", choices=("sqlite", "rabbitmq", "cluster"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--nodes", type=int, default=2, help="chatd processes on RabbitMQ")
    parser.add_argument("--rooms", type=int, default=3)
    parser.add_argument(
        "--tokens", action="store_true", help="tokens that run out, keys that change"
    )
    parser.add_argument("--clocks", action="store_true", help="clocks are set, on slower nodes")
    parser.add_argument("--retain", type=int, help="seconds; without, nothing is removed")
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    parser.add_argument("--keep", help="only the faults of these numbers, such as 0,3,4")
    parser.add_argument(
        "--shrink", action="store_true", help="find the shortest schedule that fails"
    )
    parser.add_argument("--history", type=Path, help="write the history to this file")
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    faults = attempt(given, [int(n) for n in given.keep.split(",")] if given.keep else None)
    for fault in faults[:20]:
        print(f"WRONG  {fault}")
    print(f"{len(faults)} wrong" if faults else "all right")
    if faults and given.shrink:
        shrink(given)
    return 1 if faults else 0


def keep_logs(nodes: list[ChatNode]) -> None:
    """Write the nodes' logs where they can be read afterwards."""
    for node in nodes:
        path = Path(f"torture-{node.name}.log")
        path.write_text(node.daemon.log())
        print(f"log of {node.name}: {path}")


if __name__ == "__main__":
    sys.exit(main())
