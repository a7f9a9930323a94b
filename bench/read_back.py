"""What reading back costs: the wait for an acknowledgement, and chatd's CPU for a publish.

    python bench/read_back.py [--count 3000] [--writers 50]

One chatd on one RabbitMQ node. First one writer, who waits for each acknowledgement; then many
writers at once, each of whom does. Run it on two commits to compare them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from aiohttp import ClientSession, WSMsgType

from tests.support.daemon import Daemon
from tests.support.rabbit import Node


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def write(session: ClientSession, url: str, name: str, count: int) -> list[float]:
    """Seconds until each of ``count`` messages was acknowledged."""
    waits = []
    async with session.ws_connect(f"{url}?username={name}", protocols=("chatd.v1",)) as socket:
        await socket.receive()
        for n in range(count):
            began = time.perf_counter()
            message = {"type": "message", "room": "lobby", "id": f"{name}-{n}", "text": "x" * 200}
            await socket.send_str(json.dumps(message))
            answer = await socket.receive()
            assert answer.type is WSMsgType.TEXT, answer
            assert answer.json()["type"] == "ack", answer
            waits.append(time.perf_counter() - began)
    return waits


async def measure(daemon: Daemon, writers: int, count: int) -> None:
    url = daemon.url("/ws")
    async with ClientSession() as session:
        await write(session, url, f"warm{writers}", 200)
        used, began = cpu(daemon.pid), time.perf_counter()
        each = count // writers
        all_waits = await asyncio.gather(
            *(write(session, url, f"w{writers}-{n}", each) for n in range(writers))
        )
        took, used = time.perf_counter() - began, cpu(daemon.pid) - used
    waits = sorted(wait for some in all_waits for wait in some)
    print(
        f"{writers} writers: {len(waits) / took:.0f}/s, median {statistics.median(waits) * 1e3:.2f}"
        f" ms, 99th percentile {waits[len(waits) * 99 // 100] * 1e3:.1f} ms, "
        f"CPU {used / len(waits) * 1e6:.0f} µs a publish"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--writers", type=int, default=50)
    options = parser.parse_args()
    node = Node().start()
    try:
        with Daemon("--rate", "100000/s", broker=node.url()) as daemon:
            for writers in (1, options.writers):
                asyncio.run(measure(daemon, writers, options.count))
    finally:
        node.close()


if __name__ == "__main__":
    main()
