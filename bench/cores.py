"""Several nodes on one machine behind one port: each has a socket of its own there (SO_REUSEPORT of
socket(7)), and the kernel spreads the connections.

    python bench/cores.py [--nodes 1 2] [--clients 2000] [--rounds 3]

As ``etc/chatd@.socket`` has it under systemd. The nodes share a RabbitMQ; one room, 16 messages
under way. RabbitMQ and the load generator run on the same machine, so on few processors the
deliveries in a second say little; what each delivery costs, and who has how many clients, do.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.loads import START, Figure, Server, free_port, many_files, measured, progress
from bench.peers import Peer, chatd_on
from tests.support.rabbit import Node

#: How a service manager passes a listening socket: sd_listen_fds(3).
_PASS = 'exec 3<&"$0" && exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=port "$@"'


@contextmanager
def node(peer: Peer, port: int) -> Iterator[int]:
    """One more node at ``port``; its process id."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket() as listening,
    ):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(4096)
        command = peer.command(port, Path(folder), 16)
        command[command.index("--websocket") + 1] = "systemd:domain=INET:index=0"
        number = listening.fileno()
        process = subprocess.Popen(
            ["sh", "-c", _PASS, str(number), *command], cwd=folder, pass_fds=[number]
        )
        try:
            _await_ready(Path(folder) / "log")
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def _await_ready(log: Path) -> None:
    until = time.monotonic() + START
    while not (log.exists() and "Ready" in log.read_text()):
        if time.monotonic() > until:
            raise SystemExit("chatd did not start")
        time.sleep(0.1)


def measure(peer: Peer, nodes: int, clients: int) -> tuple[float, float, str]:
    """Microseconds of CPU for a delivery, deliveries in a second, and the clients of each node."""
    port = free_port()
    with ExitStack() as stack:
        pids = [stack.enter_context(node(peer, port)) for _ in range(nodes)]
        before = [_files(pid) for pid in pids]
        load = Server(port, pids).load(peer, "--n", clients, "--window", 16, "--secs", 4)
        shares = ""
        while load.poll() is None:
            now = [_files(pid) - idle for pid, idle in zip(pids, before, strict=True)]
            if sum(now) >= clients:
                shares = "/".join(map(str, now))
            time.sleep(0.2)
        result = measured(load)
    return result["us_per_deliv"], result["deliv_per_s"], shares


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def figures(rounds: int, counts: list[int], clients: int) -> Iterator[Figure]:
    """The medians of alternating rounds."""
    broker = Node().start()
    try:
        peer, _ = chatd_on(broker.url())
        found: dict[int, list[tuple[float, float, str]]] = {count: [] for count in counts}
        for turn in range(rounds):
            for count in counts:
                progress(f"round {turn + 1} of {rounds}: {count} nodes")
                found[count].append(measure(peer, count, clients))
        for count, results in found.items():
            what = f"{count} nodes, {clients} clients ({results[-1][2]})"
            yield Figure(f"A delivery, {what}", median(r[0] for r in results), "us")
            yield Figure(f"Deliveries, {what}", median(r[1] for r in results), "a second")
    finally:
        broker.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    many_files()
    for figure in figures(given.rounds, given.nodes, given.clients):
        print(figure, flush=True)
