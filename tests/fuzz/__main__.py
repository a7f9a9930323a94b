"""Millions of inputs: a process of libFuzzer (atheris) for each target, one after the other.

    python -m tests.fuzz --seconds 3600
    python -m tests.fuzz --target http --seconds 60

What fails is kept in ``tests/fuzz/findings``, which the suite replays.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FINDINGS = HERE / "findings"
#: What libFuzzer is told: seconds and megabytes that an input may take, bytes it may have.
LIMITS = ("-timeout=5", "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1")


def fuzz(name: str, options: list[str]) -> None:
    """Become a libFuzzer process for one target."""
    import atheris

    with atheris.instrument_imports(include=["chatd"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds):
            (Path(corpus) / f"seed{number}").write_bytes(seed)
        words = Path(corpus) / "words.dict"
        quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
        words.write_text("".join(f'"{word}"\n' for word in quoted))
        given = [f"-dict={words}"] if target.words else []
        atheris.Setup([sys.argv[0], *LIMITS, *given, *options, corpus], target.run)
        atheris.Fuzz()


def run(name: str, seconds: float) -> tuple[int, bool]:
    """Fuzz a target in a process of its own; how many inputs, and whether all was right."""
    folder = FINDINGS / name
    folder.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={max(1, int(seconds))}", f"-artifact_prefix={folder}/"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--inside", name, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if not any(folder.iterdir()):
        folder.rmdir()
    told = re.search(r"number_of_executed_units: *(\d+)", done.stderr)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], sep="\n")
    return int(told[1]) if told else 0, done.returncode == 0


def main() -> int:
    """Read the command line, and fuzz."""
    if sys.argv[1:2] == ["--inside"]:
        fuzz(sys.argv[2], sys.argv[3:])
        return 0
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together")
    parser.add_argument("--target", choices=tuple(TARGETS), action="append")
    given = parser.parse_args()
    names = given.target or list(TARGETS)
    total, wrong = 0, []
    for name in names:
        inputs, right = run(name, given.seconds / len(names))
        total += inputs
        wrong += [] if right else [name]
        print(f"{name:16} {inputs:>10} inputs{'' if right else ', WRONG'}", flush=True)
    print(f"{total} inputs,", f"wrong: {', '.join(wrong)}" if wrong else "all right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
