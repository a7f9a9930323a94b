"""What connections cost that say nothing: memory for each, and the handshake.

    python bench/standing.py [--rounds 3]

Connections over WebSocket, in one room of each process: 5,000; as many as a process may have files
open (20,000 at most); and 50,000 at the same time, spread over processes by the same limit. A
handshake is measured without a room, beside Autobahn that only echoes.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from attrs import evolve

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.loads import Figure, Server, alternate, many_files, progress, running
from bench.peers import ECHO, Peer, chatd_on

#: Kilobytes for a connection, and seconds of CPU for a handshake in times of Autobahn's.
MEMORY, HANDSHAKE = 10.0, 1 / 0.9
#: Seconds of CPU in two seconds that idle servers may use.
IDLE = 0.1


def handshake(peer: Peer) -> Callable[[], float]:
    """Microseconds of CPU for one, of 2,000."""

    def measure() -> float:
        with running(peer) as server:
            result = server.run(peer, "--n", 2000, "--secs", 0, "--settle", 300)
        return 1e6 / float(result["conn_per_cpu_s"])

    return measure


def memory(count: int) -> float:
    """Kilobytes for each of ``count`` connections."""
    chatd, _ = chatd_on("memory:")
    with running(chatd) as server:
        return float(server.run(chatd, "--n", count, "--secs", 0)["kb_per_conn"])


def together(count: int, most: int) -> float:
    """Kilobytes for each of ``count`` connections that are open at the same time, at most ``most``
    in a process."""
    chatd, _ = chatd_on("memory:")
    processes = -(-count // most)
    share = -(-count // processes)
    with ExitStack() as stack:
        servers = [stack.enter_context(running(chatd)) for _ in range(processes)]
        before = sum(server.memory() for server in servers)
        for server in servers:
            load = server.load(chatd, "--n", share, "--secs", 0, "--idle", 3600)
            stack.callback(load.terminate)
        _await_connected(servers, processes * share)
        return (sum(server.memory() for server in servers) - before) / (processes * share)


def _await_connected(servers: list[Server], count: int) -> None:
    """Wait until so many connections are open, and hardly anything more is done for them."""
    files, used, now = 0, 0.0, sum(server.cpu() for server in servers)
    while files < count or now - used > IDLE:
        time.sleep(2)
        files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for s in servers for pid in s.pids)
        used, now = now, sum(server.cpu() for server in servers)
        progress(f"{files:,} files open for {count:,} idle connections")


def figures(rounds: int) -> Iterator[Figure]:
    """Memory, then handshakes."""
    most = min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200)
    progress("50,000 idle connections")
    yield Figure("Idle, one of 50,000", together(50_000, most), "KB", goal=MEMORY)
    for count in (5_000, most):
        progress(f"{count:,} idle connections")
        yield Figure(f"Idle, one of {count:,}", memory(count), "KB", goal=MEMORY)
    chatd, _ = chatd_on("memory:")
    chatd = evolve(chatd, load=["--proto", "chatd.v1", "--path", "/?username=u%d"])
    measures = ((ECHO.name, handshake(ECHO)), (chatd.name, handshake(chatd)))
    (echo, _), (value, ratio) = alternate("handshakes", rounds, *measures)
    yield Figure("Handshake of Autobahn alone", echo, "us")
    yield Figure("Handshake", value, "us", ratio, "Autobahn", HANDSHAKE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    many_files()
    for figure in figures(parser.parse_args().rounds):
        print(figure, flush=True)
