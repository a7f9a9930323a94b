"""Unread answers: what clients that ask and never read make a node hold, and what stays of it.

    python bench/unread.py [--connections 300] [--max-unread 64MB] [--broker URL]

Starts a real daemon for each kind. A room is filled with large messages and met by members with
long names; then so many connections ask for as much as they can, and read nothing. Told is the
daemon's resident memory before, at its peak, and after the connections are gone: it should be back
within a fifth. What a connection held at most is compared with its 256 KiB, all of them together
with the budget.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.floods import connect, said, shake
from bench.slow_readers import resident
from tests.support.daemon import Daemon

PER_CONNECTION = 256 * 1024
#: Messages of the room, and bytes of each.
MESSAGES = 300
TEXT = 14 * 1024
#: Members of the room, whose names are as long as they may be.
MEMBERS = 200
JOINS = 400
#: Seconds in which what was asked for comes to rest, and in which memory is given back.
REST = 8.0

HISTORY = b"GET /rooms/lobby/messages?last=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
POLL = b"GET /rooms/lobby/messages?since=2000-01-01T00:00:00Z&limit=1000&wait=60 HTTP/1.1\r\n"
EVENTS = b"GET /rooms/lobby/events?last=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: By name: the port, and what each connection sends.
KINDS = {
    "history": ("http", HISTORY * 4),
    "polls": ("http", (POLL + b"Host: localhost\r\n\r\n") * 4),
    "event streams": ("http", EVENTS),
    "joins": ("websocket", said(type="join", room="lobby") * JOINS),
    "joins with history": ("websocket", said(type="join", room="lobby", last=1000) * JOINS),
}


def fill(daemon: Daemon) -> list[socket.socket]:
    """Write the room's messages, and have its members come. Returns the members."""
    writer = shake(daemon.websocket[1], b"writer")
    for n in range(MESSAGES):
        writer.sendall(said(type="message", room="lobby", text=f"{n}" + "x" * TEXT))
        got = b""
        while b'"ack"' not in got:
            got += writer.recv(65536)
    members = []
    for n in range(MEMBERS):
        member = shake(daemon.websocket[1], b"%03d" % n + b"y" * 61)
        member.sendall(said(type="join", room="lobby"))
        members.append(member)
    return [writer, *members]


def ask(port: int, kind: str, n: int) -> socket.socket:
    """A connection that has asked and reads nothing, with a small window."""
    where, data = KINDS[kind]
    sock = shake(port, b"deaf%d" % n) if where == "websocket" else connect(port)
    sock.settimeout(0.2)
    with suppress(TimeoutError, OSError):
        sock.sendall(data)
    return sock


def measure(kind: str, args: argparse.Namespace) -> None:
    """One line of the table."""
    options = ["--rate=10000/s", "--max-connections-per-address=10000"]
    with Daemon(*options, f"--max-unread={args.max_unread}", broker=args.broker) as daemon:
        members = fill(daemon)
        for sock in members[1:]:
            sock.settimeout(0)
            with suppress(OSError):
                while sock.recv(1 << 20):
                    pass
        warm = ask(getattr(daemon, KINDS[kind][0])[1], kind, args.connections)
        time.sleep(2)
        warm.close()
        time.sleep(1)
        before = peak = resident(daemon.pid)
        port = getattr(daemon, KINDS[kind][0])[1]
        deaf = []
        for n in range(args.connections):
            deaf.append(ask(port, kind, n))
            peak = max(peak, resident(daemon.pid))
        until = time.monotonic() + REST
        while time.monotonic() < until:
            peak = max(peak, resident(daemon.pid))
            time.sleep(0.05)
        for sock in deaf:
            sock.close()
        until = time.monotonic() + REST
        after = resident(daemon.pid)
        while time.monotonic() < until and after > 1.2 * before:
            time.sleep(0.2)
            after = resident(daemon.pid)
    each = (peak - before) / args.connections / 1024
    print(
        f"{kind:<20}{before / 2**20:>8.1f}{peak / 2**20:>8.1f}{after / 2**20:>8.1f}"
        f"{after / before:>8.2f}{each:>10.1f} of {PER_CONNECTION // 1024}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker")
    parser.add_argument("--connections", type=int, default=300)
    parser.add_argument("--max-unread", default="64MB")
    parser.add_argument("--kind", choices=KINDS, action="append")
    args = parser.parse_args()
    print(json.dumps({"connections": args.connections, "budget": args.max_unread}))
    names = ("before", "peak", "after", "times")
    print(f"{'MB resident':<20}" + "".join(f"{one:>8}" for one in names) + "  KB a connection")
    for kind in args.kind or KINDS:
        measure(kind, args)


if __name__ == "__main__":
    main()
