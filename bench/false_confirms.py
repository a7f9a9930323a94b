"""What a confirm is worth after the death of a stream's leader, without chatd: pika alone.

    python bench/false_confirms.py [--rounds 3] [--apart]

A cluster of three is started, and three streams on it. Each round publishes some messages to each
stream, kills the node that leads them with a publish to each in flight, starts it again, and
publishes some more on what was open. Then it reads the streams: what was confirmed and is in none
of them is a false confirm. All streams share one channel, or with ``--apart`` each has its own.
``TEST_OF_CHATD_RABBITMQ`` chooses the RabbitMQ, as in the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError
from pika.spec import Basic

from tests.support.cluster import Cluster
from tests.support.rabbit import Node

STREAMS = ("one", "two", "three")
#: Messages to each stream before the kill, and after it.
BEFORE, AFTER = 10, 40


class Sender:
    """One connection that publishes with confirms and never waits for them."""

    def __init__(self, node: Node, apart: bool) -> None:
        self.connection = BlockingConnection(pika.URLParameters(node.url()))
        first = self._channel()
        self.channels = {name: self._channel() if apart else first for name in STREAMS}
        self.sent: dict[int, list[str]] = {}
        self.confirmed: list[str] = []

    def _channel(self) -> BlockingChannel:
        channel = self.connection.channel()
        # below the blocking layer, which would wait for each confirm
        channel._impl.confirm_delivery(lambda frame: self._settled(channel, frame.method))
        self.connection.process_data_events(0.2)
        return channel

    def _settled(self, channel: BlockingChannel, method: object) -> None:
        assert isinstance(method, Basic.Ack)
        sent = self.sent[id(channel)]
        first = 0 if method.multiple else method.delivery_tag - 1
        for n in range(first, method.delivery_tag):
            if sent[n]:
                self.confirmed.append(sent[n])
                sent[n] = ""

    def publish(self, stream: str, text: str) -> None:
        channel = self.channels[stream]
        self.sent.setdefault(id(channel), []).append(f"{stream} {text}")
        channel._impl.basic_publish("", stream, text.encode(), mandatory=True)
        self.connection.process_data_events(0.005)


def stored(node: Node, stream: str) -> list[str]:
    """All that is in a stream: what comes until nothing has come for two seconds."""
    connection = BlockingConnection(pika.URLParameters(node.url()))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1000)
    found = []
    arguments = {"x-stream-offset": "first"}
    for method, _, body in channel.consume(stream, arguments=arguments, inactivity_timeout=2):
        if method is None:
            break
        found.append(f"{stream} {body.decode()}")
        channel.basic_ack(method.delivery_tag)
    connection.close()
    return found


def leader(cluster: Cluster, stream: str) -> int:
    """Which node leads ``stream``."""
    name = cluster.nodes[0].eval(
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{stream}">>)),'
        "node(amqqueue:get_pid(Q))"
    )
    return [node.name for node in cluster.nodes].index(name.strip("'"))


def one_round(cluster: Cluster, number: int, apart: bool) -> tuple[int, int, int]:
    """Counts of what was confirmed, confirmed and not stored, stored twice."""
    dies = leader(cluster, STREAMS[0])
    survivor = cluster.nodes[(dies + 1) % 3]
    sender = Sender(survivor, apart)
    for n in range(BEFORE):
        for stream in STREAMS:
            sender.publish(stream, f"{number}-{n}")
    sender.connection.process_data_events(1)
    cluster.nodes[dies].kill()
    for stream in STREAMS:
        sender.publish(stream, f"{number}-flight")
    cluster.nodes[dies].start()
    sender.connection.process_data_events(3)
    for n in range(AFTER):
        for stream in STREAMS:
            sender.publish(stream, f"{number}-after-{n}")
    sender.connection.process_data_events(3)
    found = Counter(one for stream in STREAMS for one in stored(survivor, stream))
    lost = [one for one in sender.confirmed if one not in found]
    with contextlib.suppress(AMQPError):
        sender.connection.close()
    return len(sender.confirmed), len(lost), sum(1 for count in found.values() if count > 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--apart", action="store_true")
    options = parser.parse_args()
    cluster = Cluster()
    try:
        cluster.start()
        version = cluster.nodes[0].eval("rabbit_misc:version()")
        with BlockingConnection(pika.URLParameters(cluster.nodes[0].url())) as connection:
            for name in STREAMS:
                connection.channel().queue_declare(
                    name, durable=True, arguments={"x-queue-type": "stream"}
                )
        time.sleep(2)
        for number in range(options.rounds):
            confirmed, lost, twice = one_round(cluster, number, options.apart)
            print(
                f"RabbitMQ {version}: confirmed {confirmed}, of these not stored {lost};"
                f" stored twice {twice}",
                flush=True,
            )
    finally:
        cluster.close()


if __name__ == "__main__":
    main()
