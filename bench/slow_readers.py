"""Slow readers: half of the subscribers never read while a room is written to, then catch up.

    python bench/slow_readers.py [--broker URL] [--subscribers 1000] [--megabytes 50] [--rate 100]

Starts a real daemon twice. Once only the half that reads is there; once the other half is connected
too, joined, and reads nothing. Each time the same messages are published at the same rate. Told
are the latencies of those who read, what each stalled connection costs the daemon (its resident
memory) and the kernel (``skmem`` of the daemon's sockets in ``ss -tm``), and how long the stalled
half takes to catch up. Every byte that every subscriber is sent is compared: each message came
once, in order.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.daemon import Daemon

ROOM = "lobby"
CHUNK = 256 * 1024
PONG = b"\x8a\x80" + bytes(4)
#: Of those who read, how many are timed.
TIMED = 25


def frame(payload: bytes) -> bytes:
    """A client's text frame; the mask is zero, so nothing is changed."""
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + size.to_bytes(2)
    return head + bytes(4) + payload


def said(value: dict[str, Any]) -> bytes:
    return frame(json.dumps(value).encode())


def ready(sock: socket.socket, seconds: float) -> bool:
    """Whether something can be read within ``seconds``."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class Client:
    """A raw WebSocket connection."""

    def __init__(self, address: tuple[str, int], user: str, join: bool) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = b""
        #: How far in the common stream of messages it is.
        self.position = 0
        self.socket.sendall(
            (
                f"GET /?username={user} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                "Sec-WebSocket-Protocol: chatd.v1\r\n\r\n"
            ).encode()
        )
        while b"\r\n\r\n" not in self.left:
            self._more()
        head, _, self.left = self.left.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"slow_readers: {head.decode()}")
        self.next()
        if join:
            self.socket.sendall(said({"type": "join", "room": ROOM}))
            while self.next()["type"] != "joined":
                pass

    def _more(self) -> None:
        data = self.socket.recv(CHUNK)
        if not data:
            raise SystemExit("slow_readers: a connection was closed")
        self.left += data

    def next(self) -> dict[str, Any]:
        """The next JSON object; pings are answered."""
        while True:
            size = whole(self.left)
            while size is None:
                self._more()
                size = whole(self.left)
            taken, self.left = self.left[:size], self.left[size:]
            if taken[0] == 0x89:
                self.socket.sendall(PONG)
                continue
            value: dict[str, Any] = json.loads(taken[header(taken) :])
            return value


def header(data: bytes | bytearray | memoryview) -> int:
    return 2 if data[1] < 126 else 4 if data[1] == 126 else 10


def whole(data: bytes | bytearray | memoryview) -> int | None:
    """The size of the frame at the start of ``data``, if all of it is there."""
    if len(data) < 2 or len(data) < header(data):
        return None
    size = data[1] if data[1] < 126 else int.from_bytes(data[2 : header(data)])
    return header(data) + size if len(data) >= header(data) + size else None


class Stream:
    """The message frames, which are the same bytes for everyone: learned from one reader."""

    def __init__(self, count: int, text: str) -> None:
        self.bytes = bytearray()
        #: Where each message ends.
        self.ends: list[int] = []
        self.count = count
        self._text = text
        self._raw = bytearray()

    def learn(self, data: bytes) -> bool:
        """What came next on the first reader's connection, parsed and checked; whether there was
        a ping."""
        self._raw += data
        ping = False
        at, view = 0, memoryview(bytes(self._raw))
        while (size := whole(view[at:])) is not None:
            one = bytes(view[at : at + size])
            at += size
            if one[0] == 0x89:
                ping = True
                continue
            value = json.loads(one[header(one) :])
            if value["type"] == "presence":
                raise SystemExit("slow_readers: somebody left meanwhile")
            if value["text"] != f"{len(self.ends)}:{self._text}":
                raise SystemExit(f"slow_readers: {len(self.ends)} expected, {value['text'][:40]}")
            self.bytes += one
            self.ends.append(len(self.bytes))
        del self._raw[:at]
        return ping

    @property
    def complete(self) -> bool:
        return len(self.ends) == self.count


class Crowd:
    """All readers, served by one epoll loop."""

    def __init__(self, stream: Stream, first: Client) -> None:
        self.stream = stream
        self.first = first
        self.sent: list[float] = []
        self.latencies: list[float] = []
        self.timed: dict[int, int] = {}
        self._clients: dict[int, Client] = {}
        self._poll = select.epoll()
        self._buffer = bytearray(CHUNK)
        self._view = memoryview(self._buffer)
        self._waiting = 0
        self.first.socket.setblocking(False)

    def add(self, clients: Iterable[Client]) -> None:
        for client in clients:
            client.socket.setblocking(False)
            self._clients[client.socket.fileno()] = client
            self._poll.register(client.socket, select.EPOLLIN)
            self._waiting += 1

    @property
    def all_done(self) -> bool:
        return self._waiting == 0 and self.stream.complete

    def serve(self, timeout: float) -> None:
        """Read what has come, within ``timeout`` seconds."""
        for number, _ in self._poll.poll(timeout):
            self._read(self._clients[number], number)
        self._learn(0)

    def _learn(self, wanted: int) -> None:
        """Read the first reader; wait for it if others are ahead."""
        while True:
            try:
                data = self.first.socket.recv(CHUNK)
            except BlockingIOError:
                if len(self.stream.bytes) >= wanted:
                    return
                if not ready(self.first.socket, 20):
                    raise SystemExit("slow_readers: the first reader is stuck") from None
                continue
            if not data:
                raise SystemExit("slow_readers: the first reader's connection was closed")
            if self.stream.learn(data):
                self.first.socket.send(PONG)

    def _read(self, client: Client, number: int) -> None:
        try:
            size = client.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        if not size:
            raise SystemExit("slow_readers: a connection was closed")
        data: bytes | memoryview = self._view[:size]
        if client.left:
            data, client.left = client.left + bytes(data), b""
        self._compare(client, data)
        if number in self.timed:
            self._time(client, number)
        if client.position == len(self.stream.bytes) and self.stream.complete:
            self._poll.unregister(client.socket)
            self._waiting -= 1

    def _compare(self, client: Client, data: bytes | memoryview) -> None:
        at = client.position
        if len(self.stream.bytes) < at + len(data):
            self._learn(0)
        if bytes(self.stream.bytes[at : at + len(data)]) == bytes(data):
            client.position += len(data)
            return
        self._past_pings(client, bytes(data))

    def _past_pings(self, client: Client, data: bytes) -> None:
        """Go frame by frame, from one boundary to the next."""
        begin = self._boundary(client.position)
        data = bytes(self.stream.bytes[begin : client.position]) + data
        at, position = 0, begin
        while (size := whole(data[at:])) is not None:
            if data[at] == 0x89:
                client.socket.send(PONG)
            else:
                self._learn(position + size)
                if self.stream.bytes[position : position + size] != data[at : at + size]:
                    raise SystemExit("slow_readers: a reader was sent something else")
                position += size
            at += size
        client.position, client.left = position, data[at:]

    def _boundary(self, position: int) -> int:
        place = bisect_right(self.stream.ends, position)
        return self.stream.ends[place - 1] if place else 0

    def _time(self, client: Client, number: int) -> None:
        now = time.perf_counter()
        heard = self.timed[number]
        while heard < len(self.stream.ends) and self.stream.ends[heard] <= client.position:
            self.latencies.append(now - self.sent[heard])
            heard += 1
        self.timed[number] = heard


def resident(pid: int) -> int:
    """The daemon's resident memory, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def kernel(port: int) -> int:
    """What the kernel holds for the daemon's ends of its connections, in bytes: queued to be
    sent, received, and allocated ahead."""
    lines = subprocess.run(
        ["ss", "-Htmn", f"sport = :{port}"], capture_output=True, text=True, check=True
    ).stdout
    total = 0
    for match in re.finditer(r"skmem:\(([^)]*)\)", lines):
        parts = dict(re.findall(r"([a-z]+)(\d+)", match[1]))
        total += sum(int(parts.get(key, 0)) for key in ("r", "f", "w", "o", "bl"))
    return total


def cpu(pid: int) -> float:
    """Seconds of processor time the daemon has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Run:
    """One daemon, and what was measured."""

    def __init__(self, args: argparse.Namespace, stalled: int) -> None:
        self.args = args
        reading = args.subscribers - args.subscribers // 2
        text = "x" * args.text
        count = args.megabytes * 1024 * 1024 // args.text
        options = ["--rate", "1000000/s", "--max-connections-per-address", "100000"]
        options += ["--retain-bytes", f"{2 * args.megabytes}MB"]
        broker = {"broker": args.broker} if args.broker else {}
        with Daemon(*options, **broker) as daemon:
            self.daemon = daemon
            publisher = Client(daemon.websocket, "publisher", join=False)
            readers = [Client(daemon.websocket, f"r{n}", join=True) for n in range(reading)]
            asleep = [Client(daemon.websocket, f"s{n}", join=True) for n in range(stalled)]
            time.sleep(3)  # the last of presence is told
            self._quiet([*readers, *asleep])
            self.crowd = Crowd(Stream(count, text), readers[0])
            self.crowd.add(readers[1:])
            step = max(1, (reading - 1) // TIMED)
            self.crowd.timed = {r.socket.fileno(): 0 for r in readers[1::step]}
            before = resident(daemon.pid), kernel(daemon.websocket[1])
            self._publish(publisher, count, text)
            after = resident(daemon.pid), kernel(daemon.websocket[1])
            self.memory = after[0] - before[0]
            self.kernel = after[1] - before[1]
            self.catching_up = self._catch_up(asleep) if asleep else 0.0

    def _quiet(self, clients: list[Client]) -> None:
        """Take what was told while all joined; nothing more may come before the messages."""
        for client in clients:
            while ready(client.socket, 0):
                client._more()
            while whole(client.left) is not None:
                size = whole(client.left) or 0
                client.left = client.left[size:]
            assert not client.left

    def _publish(self, publisher: Client, count: int, text: str) -> None:
        crowd, interval = self.crowd, 1 / self.args.rate
        publisher.socket.setblocking(False)
        begun, used = time.perf_counter(), cpu(self.daemon.pid)
        sent = 0
        while not crowd.all_done:
            now = time.perf_counter()
            if sent < count and now >= begun + sent * interval:
                value = {
                    "type": "message",
                    "room": ROOM,
                    "id": f"m{sent}",
                    "text": f"{sent}:{text}",
                }
                crowd.sent.append(time.perf_counter())
                self._send(publisher, said(value))
                sent += 1
            ahead = begun + sent * interval - time.perf_counter() if sent < count else 0.05
            crowd.serve(min(max(ahead, 0), 0.05))
            try:
                # acknowledgements, and now and then a ping, which any pong answers
                if b"\x89" in publisher.socket.recv(CHUNK):
                    self._send(publisher, PONG)
            except BlockingIOError:
                continue
        self.seconds = time.perf_counter() - begun
        self.cpu = cpu(self.daemon.pid) - used

    def _send(self, publisher: Client, data: bytes) -> None:
        while data:
            try:
                data = data[publisher.socket.send(data) :]
            except BlockingIOError:
                self.crowd.serve(0.001)

    def _catch_up(self, asleep: list[Client]) -> float:
        begun = time.perf_counter()
        self.crowd.add(asleep)
        while not self.crowd.all_done:
            self.crowd.serve(1)
            if time.perf_counter() - begun > 300:
                raise SystemExit("slow_readers: they do not catch up")
        return time.perf_counter() - begun

    def latency(self, share: float) -> float:
        """A percentile, in milliseconds."""
        ordered = sorted(self.crowd.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", default="", help="as for chatd; SQLite by default")
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--text", type=int, default=8192, help="bytes in a message")
    parser.add_argument("--rate", type=float, default=100, help="messages a second")
    args = parser.parse_args()
    half = args.subscribers // 2
    runs = {"without": Run(args, 0), "with": Run(args, half)}
    for name, run in runs.items():
        print(
            f"{name} {half} stalled: latency p50 {run.latency(0.5):.1f} ms, p99"
            f" {run.latency(0.99):.1f} ms; {run.seconds:.1f} s, {run.cpu:.1f} s of CPU; resident"
            f" +{run.memory / 2**20:.1f} MB, kernel +{run.kernel / 2**20:.1f} MB"
        )
    one, other = runs["without"], runs["with"]
    for share in (0.5, 0.99):
        ratio = other.latency(share) / one.latency(share)
        print(f"latency p{share * 100:.0f} with stalled readers: {ratio:.2f} times")
    print(
        f"each stalled connection: {(other.memory - one.memory) / half / 1024:.1f} KB resident,"
        f" {(other.kernel - one.kernel) / half / 1024:.1f} KB in the kernel"
        f" (whole growth {(other.memory + other.kernel) / half / 1024:.1f} KB)"
    )
    print(f"all {half} caught up in {other.catching_up:.1f} s, each message once and in order")


if __name__ == "__main__":
    main()
