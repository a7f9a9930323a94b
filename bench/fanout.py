"""Fan-out: one message in, N frames out, over WebSocket on loopback, beside what else there is.

    python bench/fanout.py [--broker memory:] [--receivers 10,1000] [--window 1,16] [--rounds 3]
                           [--over chatd.v1,socketio,nchan,ws,stock]
    python bench/fanout.py --check

Starts a loop in C (``servers/floor.c``), chatd and those peers that are installed, one after the
other in each round, pinned to processor 0, and the load generator ``wsload.c`` pinned to processor
1. ``socketio`` is chatd, spoken to as by a Socket.IO client, ``stock`` a Socket.IO server on
Node.js. The figure is utime + stime of the server divided by the messages delivered; every message
is accounted for. The ratio is that to the C loop in the same round; medians are shown.
``window`` is how many messages are under way at once; then the C loop gathers them too.

``--check`` measures chatd and the C loop only, and fails if chatd costs more than `MOST` times it.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.peers import FLOOR, HERE, OTHERS, Peer, chatd_on, compiled, pinned

#: Times the C loop's CPU for each delivery to 1,000 receivers that `--check` lets pass. Measured is
#: about 1.25; a loop that looks at each connection takes 1.5, Autobahn as it comes 4.
MOST = 2.0
#: Seconds for a server to listen.
START = 20.0

Result = dict[str, Any]


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_listener(name: str, server: subprocess.Popen[bytes], port: int) -> None:
    """Wait until ``server`` accepts connections."""
    until = time.monotonic() + START
    while server.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            time.sleep(1)  # chatd's room is created just after
            return
    raise SystemExit(f"fanout: {name} did not start")


def run(peer: Peer, receivers: int, window: int, seconds: float) -> Result:
    """One run against a fresh server; what the load generator measured."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [*pinned(0), *peer.command(port, Path(folder), window)]
        server = subprocess.Popen(command, cwd=folder)
        try:
            await_listener(peer.name, server, port)
            load = [*pinned(1), str(compiled(HERE / "wsload.c")), "--port", str(port)]
            load += ["--n", str(receivers), "--window", str(window), "--secs", str(seconds)]
            load += [*peer.load, "--pids", ",".join(map(str, family(server.pid)))]
            result: Result = json.loads(subprocess.check_output(load))
            return result
        finally:
            server.terminate()
            server.wait()


def family(pid: int) -> list[int]:
    """A process and its children: nginx works in one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def compare(
    peers: Sequence[Peer], receivers: int, window: int, seconds: float, rounds: int
) -> dict[str, float]:
    """Measure all in turn and print a line for each; the ratios to the first one."""
    found: dict[str, list[Result]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        for peer in peers:
            progress = f"  {receivers} receivers, {window} at once, round {number + 1}: {peer.name}"
            print(f"{progress:78}", end="\r", file=sys.stderr, flush=True)
            found[peer.name].append(run(peer, receivers, window, seconds))
    base = found[peers[0].name]
    ratios: dict[str, float] = {}
    for name, results in found.items():
        pairs = zip(results, base, strict=True)
        ratios[name] = median(r["us_per_deliv"] / b["us_per_deliv"] for r, b in pairs)
        print(line(name, results, ratios[name]), flush=True)
    return ratios


HEAD = (
    "receivers window  server     us CPU/delivery  x C loop  deliveries/s  p99 ms  missing"
    "  KiB/connection"
)


def line(name: str, results: Sequence[Result], ratio: float) -> str:
    """The medians of one server's runs."""

    def middle(key: str) -> float:
        return float(median(r[key] for r in results))

    p99 = median(r["lat_ms"]["p99"] for r in results)
    return (
        f"{results[0]['n']:9} {results[0]['window']:6}  {name:10} {middle('us_per_deliv'):15.2f}"
        f" {ratio:9.2f} {middle('deliv_per_s'):13,.0f} {p99:7.1f}"
        f" {sum(r['missing'] for r in results):8} {middle('kb_per_conn'):15.1f}"
    )


def numbers(text: str) -> list[int]:
    """``1,16`` as a list."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Run all combinations and print a line for each server."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--broker", default="memory:")
    parser.add_argument("--receivers", type=numbers, default=[10, 100, 1000])
    parser.add_argument("--window", type=numbers, default=[1, 16])
    parser.add_argument("--over", type=lambda text: text.split(","), help="which; else all there")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="chatd and the C loop, once; judge")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    chatd, as_socketio = chatd_on(given.broker)
    print(HEAD)
    if given.check:
        ratio = compare([FLOOR, chatd], 1000, 1, 1, 1)[chatd.name]
        if ratio > MOST:
            raise SystemExit(f"fanout: {ratio:.2f} times the C loop; at most {MOST} is right")
        return
    there = [chatd, as_socketio, *(peer for peer in OTHERS if peer.installed())]
    peers = [FLOOR, *(p for p in there if given.over is None or p.name in given.over)]
    for receivers in given.receivers:
        for window in given.window:
            compare(peers, receivers, window, given.seconds, given.rounds)


if __name__ == "__main__":
    main()
