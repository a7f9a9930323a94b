"""The worst requests: how much CPU a stranger's request costs, whatever its shape.

    python bench/worst_requests.py

A node in this process is met over transports in memory. Each shape is made to be as hard as it can
be for one parser, within what the limits let through. Told is the CPU time of the slowest of a few
tries; the goal is 20 ms.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatd.amqp.codec import Codec, ProtocolError
from chatd.config.options import Options
from chatd.tap import ChatService

GOAL = 20.0
TRIES = 3
#: Turns of the reactor in which a large body has its own.
TURNS = 3
SIZE = 128 * 1024
HEAD = 15 * 1024
SAY = b"POST /rooms/lobby/messages?username=ann HTTP/1.1\r\nHost: localhost\r\n"


class Transport(StringTransport):
    """What a connection writes to."""

    protocol: Any = None

    def loseWriteConnection(self) -> None:
        self.disconnecting = True

    def getHandle(self) -> None:
        raise AttributeError


def post(kind: bytes, body: bytes) -> bytes:
    head = b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
    return SAY + head + body


def part(header: bytes) -> bytes:
    body = b"--B\r\n%s\r\n\r\nx\r\n--B--\r\n" % header
    return post(b"multipart/form-data; boundary=B", body)


def get(target: bytes = b"/rooms/lobby", more: bytes = b"") -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % (target, more)


def shapes() -> Iterator[tuple[str, bytes]]:
    """What is sent to the HTTP port, by name."""
    form = b"application/x-www-form-urlencoded"
    yield "form: pairs", post(form, b"&" * SIZE)
    yield "form: percent", post(form, b"text=" + b"%41" * (SIZE // 3 - 9))
    yield "form: percent, encoding nothing", post(form, b"text=" + b"%" * (SIZE - 9))
    yield "form: percent, now and then", post(form, b"text=" + b"%41a" * (SIZE // 4 - 9))
    yield "multipart: semicolons", part(b'Content-Disposition: form-data; name="' + b";" * 130_000)
    yield "multipart: options", part(b"Content-Disposition: form-data" + b'; a="' * 200)
    yield (
        "multipart: parts",
        post(b"multipart/form-data; boundary=B", b"--B\r\nA: b\r\n\r\n\r\n" * (SIZE // 15)),
    )
    yield (
        "multipart: near boundaries",
        post(b"multipart/form-data; boundary=" + b"-" * 69, b"\r\n" + b"-" * (SIZE - 2)),
    )
    yield "Content-Type", post(b"text/plain" + b'; a="' * 3000, b"x")
    yield "JSON: brackets", post(b"application/json", b"[" * SIZE)
    yield "JSON: objects", post(b"application/json", b'{"a":' * (SIZE // 5))
    yield "JSON: numbers", post(b"application/json", b"[" + b"1," * (SIZE // 2 - 9) + b"1]")
    yield "JSON: digits", post(b"application/json", b'{"text":%s}' % (b"9" * (SIZE - 20)))
    yield "JSON: escapes", post(b"application/json", b'{"text":"%s"}' % (b"\\u0041" * 21_000))
    yield "text: combining marks", post(b"text/plain", "a\u0301".encode() * 5000)
    yield "query: pairs", get(b"/rooms/lobby/messages?" + b"a&" * (HEAD // 2))
    yield "query: percent", get(b"/rooms/lobby/messages?after=" + b"%41" * (HEAD // 3))
    yield "query: percent, encoding nothing", get(b"/rooms/lobby/messages?after=" + b"%" * HEAD)
    yield "path: slashes", get(b"/" * HEAD)
    yield "path: percent", get(b"/rooms/" + b"%41" * (HEAD // 3))
    yield "path: percent, encoding nothing", get(b"/rooms/" + b"%" * HEAD)
    yield "name in NFC", get(b"/rooms/" + b"%CC%81" * (HEAD // 6))
    yield "cursor", get(b"/rooms/lobby/messages?after=" + b"a:" * (HEAD // 2))
    for name in (b"Cookie", b"Accept", b"Origin", b"Host", b"Authorization", b"X-Forwarded-For"):
        target = b"/poll?roomname=lobby" if name == b"Cookie" else b"/rooms/lobby/events"
        for what in (b";", b",", b"a=b; ", b"Bearer a.", b"[::", b"http://", b" "):
            value = (what * HEAD)[:HEAD]
            yield f"{name.decode()}: {what.decode()!r}", get(target, name + b": " + value)
    for what in (b",", b";", b"a;"):
        yield f"Accept-Encoding: {what.decode()!r}", get(b"/", b"Accept-Encoding: " + what * 7000)
    yield "headers: lines", get(more=b"\r\n".join([b"a: b"] * 95))
    yield "head without end", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000
    yield (
        "chunks of one byte",
        (SAY + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (64 * 1024 // 6)),
    )


def node() -> tuple[ChatService, Clock]:
    """A node that listens on nothing, and its clock."""
    options = Options({})
    closed = [f"--{port}=off" for port in ("websocket", "http", "setup")]
    options.parseOptions(["--broker=memory:", *closed, "--rate=1000/s"])
    clock = Clock()
    clock.advance(1_700_000_000)
    service = ChatService(clock, options.config)
    service.broker.startService()
    service.node.startService()
    clock.advance(1)
    return service, clock


def meet(factory: Any, clock: Clock, data: bytes) -> float:
    """Milliseconds of CPU that ``data``, sent to ``factory``, costs."""
    address = IPv4Address("TCP", "127.0.0.1", 1)
    transport = Transport(hostAddress=address, peerAddress=address)
    transport.protocol = protocol = factory.buildProtocol(address)
    protocol.makeConnection(transport)
    begun = time.process_time()
    for at in range(0, len(data), 65536):
        if not transport.disconnecting:
            transport.protocol.dataReceived(data[at : at + 65536])
    for _ in range(TURNS):
        clock.advance(0)
    took = (time.process_time() - begun) * 1000
    transport.protocol.connectionLost(Failure(ConnectionDone()))
    return took


def amqp_table() -> float:
    """Milliseconds of CPU for a table of a record's headers, nested as deeply as it goes."""
    data = b""
    while len(data) < SIZE // 2:
        data = b"\x01aF" + len(data).to_bytes(4) + data
    begun = time.process_time()
    with suppress(ProtocolError, ValueError, RecursionError):
        Codec(BytesIO(len(data).to_bytes(4) + data)).decode_table()
    return (time.process_time() - begun) * 1000


def main() -> None:
    service, clock = node()
    worst = 0.0
    for name, data in shapes():
        took = max(meet(service.ways.http, clock, data) for _ in range(TRIES))
        worst = max(worst, took)
        print(f"{name:<32}{took:>8.2f} ms")
    for name, data in (("set-up: braces", b"{" * SIZE), ("set-up: quotes", b"{" + b'"' * SIZE)):
        took = max(meet(service.ways.setup, clock, data) for _ in range(TRIES))
        worst = max(worst, took)
        print(f"{name:<32}{took:>8.2f} ms")
    took = max(amqp_table() for _ in range(TRIES))
    worst = max(worst, took)
    print(f"{'AMQP: nested tables':<32}{took:>8.2f} ms")
    print(f"{'the worst':<32}{worst:>8.2f} ms; the goal is {GOAL:g}")


if __name__ == "__main__":
    main()
