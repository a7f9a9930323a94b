"""A message in: from WebSocket frame to acknowledged publish, beside Autobahn that only echoes it.

    python bench/inbound.py [--rounds 5]

Connections that have joined nothing publish messages of 256 characters with ids of their own: one
connection with 16 under way, 16 with one each, and one with one. The echo gets the same frames. CPU
of the server for each message.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import evolve

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.loads import Figure, alternate, many_files, running
from bench.peers import ECHO, WEB_STOMP, Peer, chatd_on
from tests.support.rabbit import Node

#: What the load generator counts is in the id, so each acknowledgement is one.
MESSAGE = '{"type":"message","room":"lobby","id":"%s","text":"' + "x" * 256 + '"}'
SHAPE = ["--template", MESSAGE, "--size", "40", "--settle", "500"]
#: Connections, and messages under way on all of them.
WAYS = {"16 under way": (1, 16), "16 senders": (16, 16), "1 under way": (1, 1)}
#: Times the echo, by broker and way.
GOALS = {
    ("memory", "16 under way"): 2.0,
    ("SQLite", "16 under way"): 3.0,
    ("RabbitMQ", "16 under way"): 3.0,
    ("memory", "16 senders"): 2.0,
    ("SQLite", "16 senders"): 3.0,
    ("RabbitMQ", "16 senders"): 3.0,
    ("memory", "1 under way"): 1.3,
}


def publisher(broker: str) -> Peer:
    """chatd, and a client that publishes."""
    chatd, _ = chatd_on(broker)
    return evolve(chatd, load=["--proto", "chatd.v1", "--path", "/?username=u%d", *SHAPE])


def cost(peer: Peer, senders: int, window: int) -> Callable[[], float]:
    """Microseconds of CPU for a message, in a run of its own."""

    def measure() -> float:
        with running(peer) as server:
            # each its own room for the load generator, which then expects one answer to a message
            shape = ["--n", senders, "--rooms", senders, "--window", window]
            result = server.run(peer, *shape, "--secs", 2)
        return float(result["us_per_deliv"])

    return measure


def figures(rounds: int) -> Iterator[Figure]:
    """On all brokers that are there."""
    brokers = {"memory": "memory:", "SQLite": "sqlite:bench.sqlite"}
    node = Node().start() if WEB_STOMP.exists() else None
    try:
        if node is not None:
            brokers["RabbitMQ"] = node.url()
        echo = evolve(ECHO, load=SHAPE)
        for way, shape in WAYS.items():
            measures = [(name, cost(publisher(url), *shape)) for name, url in brokers.items()]
            what = f"publish, {way}"
            found = alternate(what, rounds, (ECHO.name, cost(echo, *shape)), *measures)
            yield Figure(f"Echo, {way}", found[0][0], "us a message")
            for name, (value, ratio) in zip(brokers, found[1:], strict=True):
                goal = GOALS.get((name, way))
                yield Figure(f"{what}: {name}", value, "us a message", ratio, "Autobahn", goal)
    finally:
        if node is not None:
            node.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    many_files()
    for figure in figures(parser.parse_args().rounds):
        print(figure, flush=True)
