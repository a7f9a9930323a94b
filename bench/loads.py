"""Starting a server alone on processor 0, and a load generator on processor 1."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define, frozen

from bench.peers import HERE, Peer, compiled, pinned

#: Seconds for a server to listen.
START = 60.0

Result = dict[str, Any]


@frozen
class Figure:
    """What was measured. ``ratio`` is that to ``of`` in the same round, the median of all; ``goal``
    is what it should not exceed: the ratio where there is one, else the value."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    of: str = ""
    goal: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is, None without one."""
        if self.goal is None:
            return None
        return (self.value if self.ratio is None else self.ratio) <= self.goal

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:7.2f} x {self.of}"
        goal = "" if self.goal is None else f"{'' if self.reached else 'not '}<= {self.goal:g}"
        return f"{self.name:46} {self.value:12,.2f} {self.unit:15} {ratio:28} {goal}"


@define
class Server:
    """A server that listens at ``port``; ``pids`` are all its processes."""

    port: int
    pids: Sequence[int]

    def cpu(self) -> float:
        """Seconds of CPU used so far (proc(5))."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1] for pid in self.pids]
        return sum(sum(map(int, text.split()[11:13])) for text in fields) / 100

    def memory(self) -> float:
        """Resident kilobytes."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4 for pid in self.pids)

    def load(self, peer: Peer, *options: object) -> subprocess.Popen[bytes]:
        """The load generator at work, as ``peer`` wants to be spoken to."""
        command = [*pinned(1), str(compiled(HERE / "wsload.c")), "--port", str(self.port)]
        command += [*peer.load, "--pids", ",".join(map(str, self.pids)), *map(str, options)]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    def run(self, peer: Peer, *options: object) -> Result:
        """What the load generator measured."""
        return measured(self.load(peer, *options))


def measured(load: subprocess.Popen[bytes]) -> Result:
    """What a load generator measured, when it ends."""
    said = load.communicate()[0]
    if load.returncode:
        raise SystemExit(f"the load generator failed: {load.returncode}")
    result: Result = json.loads(said)
    return result


def many_files() -> None:
    """Let this process and its children open as many files as they may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(peer: Peer, window: int = 1) -> Iterator[Server]:
    """A fresh server, stopped at the end."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [*pinned(0), *peer.command(port, Path(folder), window)]
        process = subprocess.Popen(command, cwd=folder)
        try:
            _await_listener(peer.name, process, port)
            yield Server(port, _family(process.pid))
        finally:
            process.terminate()
            process.wait()


def _await_listener(name: str, server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START
    while server.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            time.sleep(1)  # chatd's room is created just after
            return
    raise SystemExit(f"{name} did not start")


def _family(pid: int) -> list[int]:
    """A process and its children: nginx works in one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def progress(text: str) -> None:
    """Show what is being measured, on one line."""
    print(f"  {text:77.77}", end="\r", file=sys.stderr, flush=True)


def alternate(
    what: str, rounds: int, *measures: tuple[str, Callable[[], float]]
) -> list[tuple[float, float]]:
    """Measure each in turn, ``rounds`` times: the median of each, and that of its ratios to the
    first one's value in the same round."""
    found: list[list[float]] = [[] for _ in measures]
    for number in range(rounds):
        for (name, measure), values in zip(measures, found, strict=True):
            progress(f"{what}, round {number + 1} of {rounds}: {name}")
            values.append(measure())
    base = found[0]
    return [
        (median(values), median(v / b for v, b in zip(values, base, strict=True)))
        for values in found
    ]
