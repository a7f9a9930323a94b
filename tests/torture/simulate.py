"""Millions of steps of the simulation, and the shortest schedule of what they find.

python -m tests.torture.simulate --steps 1000000
python -m tests.torture.simulate --seed 7 --shrink
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import count

from tests.torture.shrink import shortest
from tests.torture.simulated_schedule import Step, draw
from tests.torture.simulation import Simulation

#: Steps of one schedule.
LENGTH = 80
#: Schedules that a process runs before it tells.
BATCH = 10


def run(seed: int, steps: Sequence[Step]) -> list[str]:
    """What is wrong after ``steps``; a crash of the simulation itself is wrong too."""
    gc.disable()  # what an earlier schedule left would speak up in the middle of this one
    try:
        return Simulation(seed).run(steps)
    except Exception as e:
        return [f"crashed: {e!r}"]
    finally:
        gc.enable()


def batch(seeds: Sequence[int]) -> dict[int, list[str]]:
    """What is wrong, by seed."""
    found = {}
    for seed in seeds:
        wrong = run(seed, draw(seed, LENGTH))
        gc.collect()
        if wrong:
            found[seed] = wrong
    return found


def batches(first: int, schedules: int) -> Iterator[range]:
    """The seeds of all schedules, in batches."""
    for start in range(first, first + schedules, BATCH):
        yield range(start, min(start + BATCH, first + schedules))


def search(first: int, steps: int) -> dict[int, list[str]]:
    """Run ``steps`` steps in schedules from the seed ``first`` on; what is wrong, by seed."""
    schedules = -(-steps // LENGTH)
    began, done, found = time.monotonic(), 0, dict[int, list[str]]()
    # what is imported is not garbage: to look through it after each schedule took as long as that
    with ProcessPoolExecutor(initializer=gc.freeze) as pool:
        for wrong in pool.map(batch, batches(first, schedules)):
            done = min(done + BATCH, schedules)
            found |= wrong
            tell(wrong)
            rate = done / (time.monotonic() - began)
            told = f"{done * LENGTH} steps, {done} schedules, {60 * rate:.0f} a minute"
            print(f"\r{told}, {len(found)} wrong ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def tell(found: Mapping[int, list[str]]) -> None:
    """Print what is wrong."""
    for seed, wrong in found.items():
        print(f"\nseed {seed}:", *wrong[:5], sep="\n  ", flush=True)


def shrink(seed: int) -> None:
    """Print the shortest part of the schedule of ``seed`` that is wrong."""
    asked = count(1)

    def fails(steps: Sequence[Step]) -> bool:
        print(f"\r{next(asked)} runs, now {len(steps)} steps ", end="", file=sys.stderr, flush=True)
        return bool(run(seed, steps))

    for step in shortest(draw(seed, LENGTH), fails):
        print(step)


def main() -> int:
    """Read the command line, run, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.simulate", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--shrink", action="store_true", help="find its shortest schedule")
    given = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of names are gone through in order of hash
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.torture.simulate", *sys.argv[1:]])
    if given.seed is not None and given.shrink:
        shrink(given.seed)
        return 0
    one = given.seed is not None
    found = batch([given.seed]) if one else search(given.first, given.steps)
    if one:
        tell(found)
    print(f"{len(found)} schedules are wrong" if found else "all right")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
