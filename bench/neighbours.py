"""Whether a large room holds up a quiet one: latencies in a room of two.

    python bench/neighbours.py [--members 5000] [--rate 200] [--rounds 3]

First nothing else happens on the node. Then another room of 5,000 takes 200 messages a second. Then
5,000 clients come back at once, each with a cursor 100 messages old.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from subprocess import Popen

from attrs import evolve, frozen

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.loads import Figure, Result, Server, many_files, measured, progress, running
from bench.peers import JOIN, Peer, chatd_on

#: The 99th percentile in the quiet room, in milliseconds.
P99 = 30.0
#: Messages that a client that comes back has missed, and messages a second in the quiet room.
MISSED, RATE = 100, 50


@frozen
class Node:
    """A running node, spoken to in the large room or in the quiet one."""

    server: Server
    chatd: Peer

    def quiet(self, seconds: float) -> Popen[bytes]:
        """Two who talk to each other."""
        load = [option.replace("lobby", "quiet") for option in self.chatd.load]
        peer = evolve(self.chatd, load=load)
        options = ("--n", 2, "--rate", RATE, "--secs", seconds, "--settle", 200)
        return self.server.load(peer, *options)

    def large(self, members: int, *options: object) -> Popen[bytes]:
        """Many, one of whom talks."""
        return self.server.load(self.chatd, "--n", members, *options)

    def herd(self, members: int) -> tuple[float, Result]:
        """All come back; seconds until they have what they missed, and the quiet room meanwhile."""
        load = list(self.chatd.load)
        load[load.index(JOIN)] = f'{JOIN[:-1]},"last":{MISSED}}}'
        herd = evolve(self.chatd, load=load)
        quiet = self.quiet(8)
        came = self.server.load(herd, "--n", members, "--secs", 0, "--settle", 5000)
        result = measured(came)
        if result["delivered"] != members * MISSED:
            raise SystemExit(f"neighbours: {result['delivered']} of what was missed has come")
        return result["level_s"], measured(quiet)


def node(members: int, rate: int) -> dict[str, float]:
    """All three, on one fresh node."""
    chatd, _ = chatd_on("memory:")
    command = chatd.command
    rooms = ["--room=quiet", "--room=lobby"]
    peer = evolve(chatd, command=lambda *given: [*command(*given), *rooms])
    with running(peer) as server:
        one = Node(server, peer)
        alone = measured(one.quiet(3))
        large = one.large(members, "--rate", rate, "--secs", 8, "--wait-for", '"joined"')
        _await_members(server, members)
        beside = measured(one.quiet(5))
        told = measured(large)
        level, herd = one.herd(members)
    if alone["missing"] or beside["missing"] or told["missing"] or herd["missing"]:
        raise SystemExit("neighbours: messages are missing")
    return {
        "alone": alone["lat_ms"]["p99"],
        "beside": beside["lat_ms"]["p99"],
        "large": told["lat_ms"]["p99"],
        "level": level,
        "herd": herd["lat_ms"]["p99"],
    }


def _await_members(server: Server, members: int) -> None:
    """Wait until the large room is full, and is written to."""
    until = time.monotonic() + 300
    files = Path(f"/proc/{server.pids[0]}/fd")
    while len(list(files.iterdir())) < members:
        if time.monotonic() > until:
            raise SystemExit("neighbours: they do not connect")
        time.sleep(0.1)
    time.sleep(2.5)  # the load generator lets things settle before it writes


def figures(rounds: int, members: int = 5000, rate: int = 200) -> Iterator[Figure]:
    """The medians of all rounds."""
    found = []
    for number in range(rounds):
        progress(f"a quiet room beside {members:,}, round {number + 1}")
        found.append(node(members, rate))
    middle = {key: median(one[key] for one in found) for key in found[0]}
    yield Figure("p99 in a quiet room, nothing else to do", middle["alone"], "ms")
    name = f"p99 in it, {members:,} others get {rate} a second"
    yield Figure(name, middle["beside"], "ms", goal=P99)
    yield Figure(f"p99 of these {members:,}", middle["large"], "ms")
    yield Figure(f"{members:,} come back for {MISSED} messages", middle["level"], "s until level")
    yield Figure("p99 in the quiet room meanwhile", middle["herd"], "ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--members", type=int, default=5000)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    many_files()
    for figure in figures(given.rounds, given.members, given.rate):
        print(figure, flush=True)
