"""Fan-out: one message in, N frames out, over WebSocket on loopback, beside what else there is.

    python bench/fanout.py [--broker memory:] [--receivers 10,1000] [--window 1,16] [--rounds 3]
                           [--over chatd.v1,socketio,nchan,ws,stock,stomp]
    python bench/fanout.py --check

Starts a loop in C (``servers/floor.c``), chatd and those peers that are installed, one after the
other in each round, pinned to processor 0, and the load generator ``wsload.c`` pinned to processor
1. ``socketio`` is chatd, spoken to as by a Socket.IO client, ``stock`` a Socket.IO server on
Node.js, ``stomp`` RabbitMQ's Web STOMP. The figure is utime + stime of the server divided by the
messages delivered; every message is accounted for. The ratio is that to the C loop in the same
round; medians are shown. ``window`` is how many messages are under way at once; then the C loop
gathers them too.

``--check`` measures chatd and the C loop only, and fails if chatd costs more than `MOST` times it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.loads import Figure, Result, many_files, progress, running
from bench.peers import FLOOR, OTHERS, Peer, chatd_on

#: Times the C loop's CPU for each delivery to 1,000 receivers that `--check` lets pass. Measured is
#: about 1.1, 1.25 without io_uring; a loop that looks at each connection takes 1.5, Autobahn as it
#: comes 4.
MOST = 2.0
#: The most that fan-out should cost, in times of the C loop, by receivers and messages under way.
GOALS = {(100, 1): 1.3, (1000, 1): 1.15, (5000, 1): 1.15, (1000, 16): 1.2, (5000, 16): 1.2}
#: In times of nchan.
SMALL = 1.2


def run(peer: Peer, receivers: int, window: int, seconds: float) -> Result:
    """One run against a fresh server; what the load generator measured."""
    with running(peer, window) as server:
        return server.run(peer, "--n", receivers, "--window", window, "--secs", seconds)


def compare(
    peers: Sequence[Peer], receivers: int, window: int, seconds: float, rounds: int
) -> dict[str, list[Result]]:
    """Measure all in turn, ``rounds`` times."""
    found: dict[str, list[Result]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        for peer in peers:
            progress(f"{receivers} receivers, {window} at once, round {number + 1}: {peer.name}")
            found[peer.name].append(run(peer, receivers, window, seconds))
    return found


def ratio(results: Sequence[Result], base: Sequence[Result]) -> float:
    """The median of the ratios of the same round."""
    pairs = zip(results, base, strict=True)
    return float(median(r["us_per_deliv"] / b["us_per_deliv"] for r, b in pairs))


def figures(rounds: int) -> Iterator[Figure]:
    """All sizes, beside all peers that are installed."""
    chatd, _ = chatd_on("memory:")
    peers = [FLOOR, chatd, *(peer for peer in OTHERS if peer.installed())]
    for receivers in (2, 10, 100, 1000, 5000):
        for window in (1, 16):
            found = compare(peers, receivers, window, 1, rounds)
            for name, results in found.items():
                goal = GOALS.get((receivers, window)) if name == chatd.name else None
                yield Figure(
                    f"{receivers:,} receivers, {window} under way: {name}",
                    median(r["us_per_deliv"] for r in results),
                    "us a delivery",
                    ratio(results, found[FLOOR.name]),
                    FLOOR.name,
                    goal,
                )
            if receivers == 10 and window == 1 and "nchan" in found:
                small = ratio(found[chatd.name], found["nchan"])
                value = median(r["us_per_deliv"] for r in found[chatd.name])
                name = "10 receivers, 1 under way, beside nchan"
                yield Figure(name, value, "us a delivery", small, "nchan", SMALL)


HEAD = (
    "receivers window  server     us CPU/delivery  x C loop  deliveries/s  p99 ms  missing"
    "  KiB/connection"
)


def line(name: str, results: Sequence[Result], times: float) -> str:
    """The medians of one server's runs."""

    def middle(key: str) -> float:
        return float(median(r[key] for r in results))

    p99 = median(r["lat_ms"]["p99"] for r in results)
    return (
        f"{results[0]['n']:9} {results[0]['window']:6}  {name:10} {middle('us_per_deliv'):15.2f}"
        f" {times:9.2f} {middle('deliv_per_s'):13,.0f} {p99:7.1f}"
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
    many_files()
    chatd, as_socketio = chatd_on(given.broker)
    if given.check:
        found = compare([FLOOR, chatd], 1000, 1, 1, 1)
        times = ratio(found[chatd.name], found[FLOOR.name])
        print(f"{times:.2f} times the C loop; at most {MOST} is right")
        raise SystemExit(times > MOST)
    there = [chatd, as_socketio, *(peer for peer in OTHERS if peer.installed())]
    peers = [FLOOR, *(p for p in there if given.over is None or p.name in given.over)]
    print(HEAD)
    for receivers in given.receivers:
        for window in given.window:
            found = compare(peers, receivers, window, given.seconds, given.rounds)
            for name, results in found.items():
                print(line(name, results, ratio(results, found[FLOOR.name])), flush=True)


if __name__ == "__main__":
    main()
