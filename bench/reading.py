"""Ways to read: WebSocket, server-sent events and long-polling, the same messages to as many.

    python bench/reading.py [--rounds 3] [--receivers 1000]

All on chatd's HTTP port, one message under way. CPU of the server for each message delivered, and
resident memory for each reader that waits.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from attrs import define, evolve, field

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.loads import Figure, Server, many_files, progress, running
from bench.peers import chatd_on

#: Seconds that messages are sent for.
SECONDS = 2.0
#: The costs of a poll answered (microseconds) and of one that waits (kilobytes).
POLL, WAITING = 120.0, 8.0
#: Server-sent events, in times of WebSocket.
EVENTS = 1.2

_CURSOR = re.compile(rb'"cursor":"([^"]+)","gap"')


def upgrade(name: str) -> bytes:
    """The request that opens a WebSocket."""
    return (
        f"GET /ws?username={name}&roomname=lobby HTTP/1.1\r\nHost: localhost\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chatd.v1\r\n\r\n"
    ).encode()


def events(name: str) -> bytes:
    """The request that opens an event stream."""
    return f"GET /rooms/lobby/events?username={name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def poll(cursor: bytes) -> bytes:
    """A request that waits for what comes after ``cursor``."""
    after = b"after=%s&" % cursor if cursor else b""
    path = b"/rooms/lobby/messages?%swait=30&username=bob" % after
    return b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path


@define(eq=False)
class Readers:
    """Many readers of one room, all alike. ``again`` makes the next request of what was read."""

    server: Server
    again: Callable[[bytes], bytes] | None = None
    sockets: dict[int, socket.socket] = field(factory=dict)
    poller: select.epoll = field(factory=select.epoll)
    #: The marks that each has read.
    seen: dict[int, int] = field(factory=dict)

    def connect(self, request: bytes) -> None:
        """One more."""
        one = socket.create_connection(("127.0.0.1", self.server.port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.sendall(request)
        self.sockets[one.fileno()] = one
        self.seen[one.fileno()] = 0
        self.poller.register(one, select.EPOLLIN)

    def settle(self) -> None:
        """Read until nothing comes for half a second, in which the server does nothing."""
        last, used = time.monotonic(), self.server.cpu()
        while time.monotonic() < last + 0.5:
            if self.read(b"\0") or self.server.cpu() > used:
                last, used = time.monotonic(), self.server.cpu()
            time.sleep(0.002)

    def read(self, mark: bytes) -> int:
        """Read what is there; how many read something. Counts those who read ``mark``."""
        ready = self.poller.poll(0)
        for number, _ in ready:
            data = self.sockets[number].recv(65536)
            if not data:
                raise SystemExit("reading: the server has closed a connection")
            if mark in data:
                self.seen[number] += 1
            if self.again is not None and (found := _CURSOR.search(data)):
                self.sockets[number].sendall(self.again(found[1]))
        return len(ready)

    def all_read(self, mark: bytes, times: int) -> None:
        """Wait until each has read ``times`` marks."""
        until = time.monotonic() + 30
        left = -1
        while left:
            # polled, not waited for, so that the server does not pay for waking this process
            if self.read(mark):
                left = sum(count < times for count in self.seen.values())
            elif time.monotonic() > until:
                raise SystemExit(f"reading: {left} readers missed a message")
            time.sleep(0.0002)

    def close(self) -> None:
        """All go away."""
        for one in self.sockets.values():
            one.close()
        self.poller.close()


def frame(text: str) -> bytes:
    """A masked WebSocket text frame (RFC 6455, section 5.2), with a key of zeros."""
    data = json.dumps({"type": "message", "room": "lobby", "text": text}).encode()
    return b"\x81\xfe" + len(data).to_bytes(2) + bytes(4) + data


def measure(way: str, receivers: int) -> tuple[float, float]:
    """Microseconds of CPU for a message delivered, kilobytes for a reader."""
    _, chatd = chatd_on("memory:")
    with running(evolve(chatd, name=way)) as server:
        before = server.memory()
        readers = Readers(server, poll if way == "poll" else None)
        for number in range(receivers):
            asks = {"websocket": upgrade, "events": events}.get(way, lambda _: poll(b""))
            readers.connect(asks(f"u{number}"))
            if number % 100 == 99:
                readers.read(b"\0")
        readers.settle()
        memory = (server.memory() - before) / receivers
        writer = socket.create_connection(("127.0.0.1", server.port))
        writer.sendall(upgrade("writer"))
        time.sleep(0.5)
        used, times, until = server.cpu(), 0, time.monotonic() + SECONDS
        while time.monotonic() < until:
            times += 1
            mark = f"{times:08d}."
            writer.sendall(frame(mark + "x" * 256))
            readers.all_read(mark.encode(), times)
        used = server.cpu() - used
        readers.close()
        writer.close()
    return used / times / receivers * 1e6, memory


def figures(rounds: int, receivers: int = 1000) -> Iterator[Figure]:
    """All ways, in turn."""
    found: dict[str, list[tuple[float, float]]] = {"websocket": [], "events": [], "poll": []}
    for number in range(rounds):
        for way, results in found.items():
            progress(f"{receivers} readers, round {number + 1}: {way}")
            results.append(measure(way, receivers))
    for way, results in found.items():
        cost = median(cost for cost, _ in results)
        pairs = zip(results, found["websocket"], strict=True)
        ratio = median(one[0] / other[0] for one, other in pairs)
        name = f"{receivers:,} readers over {way}"
        if way == "poll":
            yield Figure(name, cost, "us a poll", goal=POLL)
        else:
            goal = EVENTS if way == "events" else None
            yield Figure(name, cost, "us a delivery", ratio, "WebSocket", goal)
        memory = median(memory for _, memory in results)
        yield Figure(f"{name}, each", memory, "KB", goal=WAITING if way == "poll" else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--receivers", type=int, default=1000)
    given = parser.parse_args()
    many_files()
    for figure in figures(given.rounds, given.receivers):
        print(figure, flush=True)
