"""Floods: what one user's publishes cost while twenty sockets of the same address flood.

    python bench/floods.py [--seconds 5] [--sockets 20] [--broker URL]

Starts a real daemon for each kind of flood. A user publishes and waits for each acknowledgement,
first in quiet, then while another process floods. Told are the median and the 99th percentile of
both, and how much they differ: the goal is at most 20 ms and 100 ms.

The floods of what is cold read a room of 1,500 messages of 16 KB that no cache holds.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NoReturn
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.daemon import Daemon

SHAKE = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chatd.v1\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A client's frame; the mask is zero, so nothing is changed."""
    size = len(payload)
    head = bytes([first, 0x80 | size]) if size < 126 else bytes([first, 0xFE]) + size.to_bytes(2)
    return head + bytes(4) + payload


def said(**value: object) -> bytes:
    return frame(json.dumps(value).encode())


def get(query: bytes) -> bytes:
    """A request for messages of the room that is cold."""
    return b"GET /rooms/attic/messages?%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % query


#: By name: the port, what each socket sends first, and what it sends again and again.
FLOODS: dict[str, tuple[str, bytes, bytes]] = {
    "typing": ("websocket", said(type="join", room="lobby"), said(type="typing", room="lobby")),
    "messages over the rate": ("websocket", b"", said(type="message", room="lobby", text="x")),
    "leave": ("websocket", b"", said(type="leave", room="lobby")),
    "join": ("websocket", b"", said(type="join", room="lobby")),
    "pings": ("websocket", b"", frame(b"", 0x89)),
    "empty fragments": ("websocket", frame(b"x", 0x01), frame(b"", 0x00)),
    "no JSON": ("websocket", b"", said(type="nothing") + said(type="leave", room="lobby")),
    "pipelined /healthz": ("http", b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "pipelined 404": ("http", b"", b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "history": (
        "http",
        b"",
        b"GET /rooms/lobby/messages?last=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    "set-up": ("setup", b"", b'{"op":"create_room","roomname":"lobby"}\n'),
    "Socket.IO openings": (
        "http",
        b"",
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    "Socket.IO typing": (
        "http",
        SHAKE % b"/socket.io/?EIO=4&transport=websocket" + frame(b"40"),
        frame(b'42["typing",{"room":"lobby"}]'),
    ),
    **{f"connections: {port}": (port, b"", b"") for port in ("websocket", "http", "setup")},
    **{
        f"cold {query.partition(b'=')[0].decode()}": ("http", b"", get(query))
        for query in (
            b"last=1000&limit=1",
            b"since=2020-01-01T00:00:00Z&limit=1",
            b"before=CURSOR&limit=1",
            b"after=OLDEST&limit=1",
        )
    },
    "cold joins": ("websocket", b"", said(type="join", room="attic", last=1000)),
}
#: Messages of the room that is cold.
COLD = 1500


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 20)


def shake(port: int, user: bytes) -> socket.socket:
    """A WebSocket, welcomed."""
    sock = connect(port)
    sock.sendall(SHAKE % (b"/?username=" + user))
    got = b""
    while b'"welcome"' not in got:
        got += sock.recv(65536)
    return sock


def churn(port: int, sockets: int) -> NoReturn:
    """Open so many connections and close them, for ever."""
    print("flooding", flush=True)
    while True:
        opened = [socket.socket() for _ in range(sockets)]
        for sock in opened:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        select.select([], opened, [], 1)
        for sock in opened:
            # a reset, so that no port is left waiting
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


def fill(broker: str) -> None:
    """Put so many messages of 16 KB into a room, by a daemon that is gone afterwards."""
    with Daemon("--room", "attic", "--rate", "100000/s", broker=broker) as daemon:
        sock = shake(daemon.websocket[1], b"ann")
        text = "x" * 16_000
        for _ in range(COLD):
            sock.sendall(said(type="message", room="attic", text=text))
            got = b""
            while b'"ack"' not in got:
                got += sock.recv(65536)


def cursor_of(daemon: Daemon) -> str:
    """The cursor of the room that is cold."""
    with urlopen(daemon.url("/rooms/attic")) as answer:
        return str(json.load(answer)["cursor"])


def flood(kind: str, port: int, sockets: int, cursor: bytes) -> None:
    """Send for ever, as fast as is taken, and read what is answered."""
    where, first, again = FLOODS[kind]
    again = again.replace(b"CURSOR", cursor).replace(b"OLDEST", cursor.partition(b":")[0] + b":0")
    if not again:
        churn(port, sockets)
    data = again * max(1, 65536 // len(again))
    socks: dict[socket.socket, bytes] = {}
    for n in range(sockets):
        sock = shake(port, b"flood%d" % n) if where == "websocket" else connect(port)
        sock.setblocking(False)
        socks[sock] = first + data
    print("flooding", flush=True)
    while socks:
        readable, writable, _ = select.select(socks, socks, [], 1)
        for sock in readable:
            try:
                if not sock.recv(1 << 18):
                    del socks[sock]
            except OSError:
                socks.pop(sock, None)
        for sock in writable:
            if sock in socks:
                try:
                    sent = sock.send(socks[sock])
                    socks[sock] = socks[sock][sent:] or data
                except OSError:
                    del socks[sock]


def publish(sock: socket.socket, seconds: float) -> list[float]:
    """Milliseconds of each publish, ten a second."""
    took = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.perf_counter()
        sock.sendall(said(type="message", room="lobby", text="hello"))
        got = b""
        while b'"ack"' not in got:
            got += sock.recv(65536)
        took.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.1)
    return took


def p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


def measure(kind: str, broker: str | None, seconds: float, sockets: int) -> None:
    """One line of the table."""
    cold = kind.startswith("cold")
    with TemporaryDirectory() as folder:
        broker = broker or f"sqlite:{folder}/chatd.sqlite"
        if cold:
            fill(broker)
        with Daemon(broker=broker) as daemon:
            figures = compare(daemon, kind, seconds, sockets, cursor_of(daemon) if cold else "")
    print(f"{kind:<24}" + "".join(f"{one:>9.1f}" for one in figures), flush=True)


def compare(daemon: Daemon, kind: str, seconds: float, sockets: int, cursor: str) -> list[float]:
    """Median and p99 in quiet, median and p99 flooded, and the differences."""
    with closing(shake(daemon.websocket[1], b"ann")) as victim:
        publish(victim, 1)
        quiet = publish(victim, seconds)
        port = str(getattr(daemon, FLOODS[kind][0])[1])
        child = subprocess.Popen(
            [sys.executable, __file__, "--flood", kind, port, str(sockets), cursor],
            stdout=subprocess.PIPE,
        )
        try:
            assert child.stdout is not None
            child.stdout.readline()
            loud = publish(victim, seconds)
        finally:
            child.kill()
            child.wait()
    figures = [median(quiet), p99(quiet), median(loud), p99(loud)]
    return [*figures, figures[2] - figures[0], figures[3] - figures[1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--sockets", type=int, default=20)
    parser.add_argument("--kind", choices=FLOODS, action="append")
    parser.add_argument("--flood", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.flood:
        flood(given.flood[0], int(given.flood[1]), int(given.flood[2]), given.flood[3].encode())
        return
    print(f"{os.cpu_count()} processors, {given.sockets} sockets; milliseconds of a publish")
    names = ("quiet", "p99", "flooded", "p99", "more", "p99")
    print(f"{'flood of':<24}" + "".join(f"{one:>9}" for one in names))
    for kind in given.kind or FLOODS:
        measure(kind, given.broker, given.seconds, given.sockets)


if __name__ == "__main__":
    main()
