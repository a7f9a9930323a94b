"""Clients come and go for a long time; what a node holds must not grow.

    python -m tests.torture.soak --clients 2000 --seconds 1800 --plot docs/soak.svg

Half of the clients are there at a time. Each joins a room over WebSocket, says something, and goes
after a while; others come in its place. In the end all go. After some six minutes all that the
rooms remember is full: their caches, and their newest ids.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout
from attrs import frozen

from tests.torture.clients import TROUBLE, open_socket
from tests.torture.site import ChatNode, Plan, Site

#: Seconds between two looks, and for which a client stays.
LOOK, STAY = 5.0, (10.0, 60.0)
ROOMS = 10
#: Pixels of each of the plots.
WIDTH, HEIGHT = 900, 150


@frozen
class Sample:
    """What a node holds at a time (seconds from the start): resident memory in MB, descriptors,
    and by its metrics, clients and attached rooms."""

    at: float
    memory: float
    descriptors: int
    clients: float
    rooms: float


def sample(node: ChatNode, began: float) -> Sample:
    """Look at a node."""
    pid = node.daemon.pid
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    metrics = node.text("/metrics")
    clients = sum(map(float, re.findall(r"^chatd_connections\{.*\} (\S+)", metrics, re.MULTILINE)))
    rooms = float(re.findall(r"^chatd_rooms_attached (\S+)", metrics, re.MULTILINE)[0])
    return Sample(time.monotonic() - began, memory, descriptors, clients, rooms)


async def client(node: ChatNode, number: int, until: float) -> None:
    """Come and go until the time is ``until``."""
    chance = random.Random(number)
    await asyncio.sleep(chance.uniform(0, STAY[1]))
    while time.monotonic() < until:
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=None, sock_connect=20)) as http,
                open_socket(http, node, f"user{number}") as socket,
            ):
                room = f"room{chance.randrange(ROOMS)}"
                await socket.send_json({"type": "join", "room": room})
                leaves = min(until, time.monotonic() + chance.uniform(*STAY))
                await socket.send_json({"type": "message", "room": room, "text": "hello"})
                while (left := leaves - time.monotonic()) > 0:
                    try:
                        await socket.receive(timeout=left)
                    except TimeoutError:
                        break
        except TROUBLE:
            await asyncio.sleep(1)
        await asyncio.sleep(chance.uniform(*STAY))


async def soak(node: ChatNode, clients: int, seconds: float) -> list[Sample]:
    """Run it; what was seen."""
    began = time.monotonic()
    tasks = [asyncio.create_task(client(node, n, began + seconds)) for n in range(clients)]
    seen: list[Sample] = []
    while time.monotonic() < began + seconds + 2 * STAY[1] + 75:
        seen.append(await asyncio.to_thread(sample, node, began))
        print(f"\r{seen[-1]} ", end="", file=sys.stderr, flush=True)
        await asyncio.sleep(LOOK)
    await asyncio.gather(*tasks)
    return seen


def plot(seen: Sequence[Sample]) -> str:
    """SVG: a curve for each figure."""
    names = ("memory", "descriptors", "clients", "rooms")
    height = (HEIGHT + 30) * len(names)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, name in enumerate(names):
        values = [float(getattr(one, name)) for one in seen]
        most, base = max(values) or 1.0, (HEIGHT + 30) * (number + 1)
        points = " ".join(
            f"{WIDTH * one.at / seen[-1].at:.1f},{base - HEIGHT * value / most:.1f}"
            for one, value in zip(seen, values, strict=True)
        )
        told = f"{name}: at most {most:.0f}, in the end {values[-1]:.0f}, {seen[-1].at:.0f} s"
        drawn.append(f'<text x="4" y="{base - HEIGHT - 8}">{told}</text>')
        drawn.append(f'<polyline points="{points}" fill="none" stroke="#036"/>')
    return "\n".join([*drawn, "</svg>\n"])


def main() -> int:
    """Read the command line, soak, and draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.soak", description=__doc__)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--plot", type=Path, default=Path("soak.svg"))
    given = parser.parse_args()
    site = Site.make(Plan(rooms=[f"room{n}" for n in range(ROOMS)]))
    try:
        seen = asyncio.run(soak(site.nodes[0], given.clients, given.seconds))
    finally:
        site.close()
    given.plot.write_text(plot(seen))
    print(f"\nfirst {seen[0]}\nlast  {seen[-1]}")
    print(f"most memory {max(one.memory for one in seen):.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
