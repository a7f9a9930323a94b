"""Everything that docs/performance.rst has a figure for, in one run, as a table with ratios.

    python -m bench [--rounds 3] [--only fanout,inbound] [--save FILE]

Shows what is being measured, and prints each figure as soon as it is known: the median of the
rounds, in which all that is compared took turns. Each part can also be run alone, with options of
its own. ``--save`` writes the figures as JSON, for ``bench/plots.py``. Those parts that need
RabbitMQ print tables of their own, and are left out where it is not installed.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import asdict

from bench import fanout, inbound, many_rooms, neighbours, reading, standing
from bench.loads import Figure, many_files
from bench.peers import HERE, WEB_STOMP

Part = Callable[[int], Iterator[Figure]]


def apart(name: str, *options: str) -> Part:
    """A part that needs a process of its own."""

    def figures(rounds: int) -> Iterator[Figure]:
        command = [sys.executable, str(HERE / name), "--rounds", str(rounds), "--json", *options]
        for line in subprocess.check_output(command).splitlines():
            yield Figure(**json.loads(line))

    return figures


#: What is measured, in this order.
PARTS: dict[str, Part] = {
    "fanout": fanout.figures,
    "inbound": inbound.figures,
    "publish": apart("publish.py"),
    "metrics": apart("metrics.py"),
    "reading": reading.figures,
    "standing": standing.figures,
    "rooms": many_rooms.figures,
    "memory": apart("room_memory.py"),
    "neighbours": neighbours.figures,
    "durable": apart("durable.py"),
}
#: What needs RabbitMQ and has a table of its own.
TABLES = {
    "read_back": ["read_back.py"],
    "amqp": ["amqp.py"],
    "amqp_floor": ["amqp_floor.py"],
    "amqp_rooms": ["amqp_rooms.py", "--rooms", "5000"],
    "cores": ["cores.py"],
}


def machine() -> str:
    """Where this runs."""
    told = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in told if line.startswith("model name")]
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{len(models)} x {models[0] if models else platform.machine()}, {system}"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*PARTS, *TABLES])
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    many_files()
    print(machine())
    found: list[dict[str, Any]] = []
    failed: list[str] = []
    for name, part in PARTS.items():
        if name in given.only:
            try:
                for figure in part(given.rounds):
                    print(f"\r{figure}", flush=True)
                    found.append({"part": name, "reached": figure.reached, **asdict(figure)})
            except SystemExit as why:  # the other parts are worth their figures
                print(f"\r{name} failed: {why}", flush=True)
                failed.append(name)
    if given.save:
        given.save.parent.mkdir(parents=True, exist_ok=True)
        given.save.write_text(json.dumps({"machine": machine(), "figures": found}, indent=1))
    for name, command in TABLES.items():
        if name in given.only and WEB_STOMP.exists():
            print(f"== {name}", flush=True)
            if subprocess.run([sys.executable, str(HERE / command[0]), *command[1:]]).returncode:
                failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
