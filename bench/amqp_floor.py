"""What RabbitMQ costs any client in Python: a publish, its confirm and its delivery, as raw bytes.

    python bench/amqp_floor.py [--rounds 5] [--seconds 2]

Two connections, as a node of chatd has them, and nothing else: prepared bytes are sent, and of what
comes only whole frames are counted. A publish under way is one that was not delivered yet. Prints
the CPU of this process for each; chatd on RabbitMQ cannot cost less than this and the WebSocket.
"""

from __future__ import annotations

import argparse
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from txamqp.connection import Method

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.loads import Figure, progress
from chatd.amqp.codec import encode_method
from chatd.amqp.confirms import pack_address, pack_publish
from chatd.amqp.deliveries import DELIVER
from chatd.amqp.frames import FRAME_MAX
from chatd.brokers.rabbitmq.records import publish_properties
from chatd.protocol.messages import Content
from tests.support.amqp_server import method
from tests.support.rabbit import Node

QUEUE = "floor"
_ACK = bytes.fromhex("01 0001 0000000d 003c 0050")


class Connection:
    """A connection with one channel, which blocks until its broker has answered."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        self.socket.recv(FRAME_MAX)
        login = {"mechanism": "PLAIN", "response": "\0guest\0guest", "locale": "en_US"}
        self.call(0, "connection.start-ok", client_properties={}, **login)
        self.say(0, "connection.tune-ok", channel_max=100, frame_max=FRAME_MAX, heartbeat=0)
        self.call(0, "connection.open", virtual_host="/")
        self.call(1, "channel.open")

    def say(self, channel: int, name: str, **given: Any) -> None:
        """Send a method; what is not given is zero or empty."""
        what = method(name)
        empty = {"shortstr": "", "longstr": "", "table": {}}
        values = [given.get(f.name.replace("-", "_"), empty.get(f.type, 0)) for f in what.fields]
        payload = encode_method(Method(what, *values))
        head = b"\x01" + channel.to_bytes(2) + len(payload).to_bytes(4)
        self.socket.sendall(head + payload + b"\xce")

    def call(self, channel: int, name: str, **given: Any) -> None:
        """Send a method, and wait for an answer."""
        self.say(channel, name, **given)
        self.socket.recv(FRAME_MAX)


def publishes(port: int, together: int, seconds: float) -> float:
    """Microseconds of CPU for a publish, with so many under way."""
    writer, reader = Connection(port), Connection(port)
    writer.call(1, "confirm.select")
    writer.call(1, "queue.declare", queue=QUEUE, durable=1, arguments={"x-queue-type": "stream"})
    reader.call(1, "basic.qos", prefetch_count=1000)
    reader.call(1, "basic.consume", queue=QUEUE, arguments={"x-stream-offset": "next"})
    body = Content("ann", "x" * 32, "x" * 256).record(0)
    address, properties = pack_address("", QUEUE, True), publish_properties("x" * 32, 0)
    one = pack_publish(1, address, properties, body, FRAME_MAX)
    poll = select.epoll()
    poll.register(writer.socket, select.EPOLLIN)
    poll.register(reader.socket, select.EPOLLIN)
    until, used, sent, got, rest = time.monotonic() + seconds, time.process_time(), together, 0, b""
    writer.socket.sendall(one * together)
    while got < sent:
        for number, _ in poll.poll():
            if number == writer.socket.fileno():
                writer.socket.recv(65536)  # confirms
                continue
            data = rest + reader.socket.recv(65536)
            came, rest = data.count(DELIVER), data[1 - len(DELIVER) :]
            got += came
            if came:
                reader.socket.sendall(_ACK + got.to_bytes(8) + b"\x01\xce")
                if time.monotonic() < until:
                    sent += came
                    writer.socket.sendall(one * came)
    cost = (time.process_time() - used) / got * 1e6
    for connection in (writer, reader):
        connection.socket.close()
    return cost


def figures(rounds: int, seconds: float) -> Iterator[Figure]:
    """One at a time, and sixteen."""
    node = Node().start()
    try:
        for together in (1, 16):
            progress(f"raw publishes, {together} under way")
            costs = [publishes(node.port, together, seconds) for _ in range(rounds)]
            name = f"Raw publish, confirm and delivery, {together} under way"
            yield Figure(name, median(costs), "us of CPU")
    finally:
        node.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    given = parser.parse_args()
    for figure in figures(given.rounds, given.seconds):
        print(figure, flush=True)
