"""CPU per AMQP delivery and per confirmed publish: chatd's client, stock txAMQP, pika.

    python bench/amqp.py [--broker amqp://guest:guest@127.0.0.1:5672/]

Without ``--broker`` a RabbitMQ node is started for it. Each peer runs in a process of its own, the
peers in turn, ``--rounds`` times; the table shows the median of process CPU (user and system) in
microseconds a message. All read the same stream from its first record with a prefetch of 1,000 and
acknowledge in batches; all publish with 256 under way in confirm mode. Stock txAMQP runs with the
few patches without which it cannot take part.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from twisted.internet import defer, reactor, task
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory

from chatd.amqp.channel import Reason
from chatd.amqp.client import Client
from chatd.amqp.codec import Codec, encode_properties
from chatd.amqp.confirms import pack_address
from chatd.amqp.deliveries import Delivery
from chatd.amqp.url import BrokerURL
from chatd.brokers.rabbitmq.records import publish_properties
from tests.support.rabbit import Node

STREAM = "chatd.bench"
BODY = b'{"id":"i","user":"ann","text":"' + b"x" * 200 + b'","time":"2026-11-01T12:00:00.000Z"}'
WINDOW = 256
PREFETCH = 1000
PROPERTIES = {
    "content-type": "application/json",
    "delivery-mode": 2,
    "message-id": "3f09ab41c2d83f09ab41c2d8",
    "timestamp": 1_793_000_000,
    "app-id": "chatd",
}


class Meter:
    """Counts messages; the CPU clock runs from the first to the last."""

    def __init__(self, count: int) -> None:
        self.left = self.count = count
        self.started = 0.0
        self.done: defer.Deferred[None] = defer.Deferred()

    def start(self) -> None:
        self.started = time.process_time()

    def add(self, number: int) -> None:
        if not self.started:
            self.start()
        self.left -= number
        if self.left <= 0 and not self.done.called:
            print((time.process_time() - self.started) / self.count * 1e6)
            self.done.callback(None)


# -- chatd -----------------------------------------------------------------------------------------


async def chatd_connect(url: BrokerURL) -> Client:
    def lost(reason: Reason) -> None:
        pass

    factory = Factory.forProtocol(lambda: Client(reactor, url.vhost, 0, {"product": "bench"}, lost))
    endpoint = HostnameEndpoint(reactor, url.hosts[0].name, url.hosts[0].port)
    client: Client = await endpoint.connect(factory)  # type: ignore[assignment]
    await client.authenticate(url.user, url.password, "PLAIN")
    return client


async def chatd_deliver(url: BrokerURL, count: int) -> None:
    client = await chatd_connect(url)
    channel = await client.open_channel()
    await channel.basic_qos(prefetch_count=PREFETCH)
    meter = Meter(count)

    def handler(batch: Sequence[Delivery]) -> None:
        meter.add(len(batch))

    await client.consume(channel, STREAM, "c", handler, lambda: None, {"x-stream-offset": "first"})
    await meter.done


async def chatd_publish(url: BrokerURL, count: int) -> None:
    client = await chatd_connect(url)
    publisher = await client.open_publisher()
    address = pack_address("", STREAM, True)
    meter = Meter(count)
    left = count

    def send() -> None:
        nonlocal left
        if left > 0:
            left -= 1
            properties = publish_properties("3f09ab41c2d83f09ab41c2d8", 1_793_000_000_000)
            publisher.publish(address, STREAM, properties, BODY, "i").addCallback(confirmed)

    def confirmed(_: None) -> None:
        meter.add(1)
        send()

    meter.start()
    for _ in range(WINDOW):
        send()
    await meter.done


async def fill(url: BrokerURL, count: int) -> None:
    client = await chatd_connect(url)
    channel = await client.open_channel()
    await channel.queue_delete(queue=STREAM)
    await channel.queue_declare(queue=STREAM, durable=True, arguments={"x-queue-type": "stream"})
    publisher = await client.open_publisher(limit=count)
    address, properties = pack_address("", STREAM, True), encode_properties(PROPERTIES)
    for start in range(0, count, 500):
        await defer.gatherResults(
            [
                publisher.publish(address, STREAM, properties, BODY, "i")
                for _ in range(start, start + 500)
            ]
        )


async def drop(url: BrokerURL, count: int) -> None:
    client = await chatd_connect(url)
    await (await client.open_channel()).queue_delete(queue=STREAM)


# -- stock txAMQP ----------------------------------------------------------------------------------


async def stock_connect(url: BrokerURL, acked: Callable[[Any], None]) -> Any:
    """txAMQP as it comes, but for the header, byte counts, one table type and basic.ack."""
    import txamqp.codec
    import txamqp.connection
    from txamqp.client import TwistedDelegate
    from txamqp.protocol import AMQClient

    from chatd.amqp.spec import SPEC

    class StockClient(AMQClient):
        def send_init_string(self) -> None:
            self.transport.write(b"AMQP\0\0\x09\x01")

    class StockDelegate(TwistedDelegate):
        def basic_ack(self, ch: Any, msg: Any) -> None:
            acked(msg)

    def encode_table(self: Any, table: dict[str, Any]) -> None:
        self.flushbits()
        Codec(self.stream).encode_table(table)

    def decode_table(self: Any) -> dict[str, Any]:
        return Codec(self.stream).decode_table()

    txamqp.codec.Codec.encode_table = encode_table
    txamqp.codec.Codec.decode_table = decode_table
    txamqp.connection.Body.decode = staticmethod(
        lambda spec, dec: txamqp.connection.Body(dec.decode_longbytes())
    )
    factory = Factory.forProtocol(
        lambda: StockClient(StockDelegate(), url.vhost, SPEC, clock=reactor)
    )
    endpoint = HostnameEndpoint(reactor, url.hosts[0].name, url.hosts[0].port)
    client: Any = await endpoint.connect(factory)
    await client.authenticate(url.user, url.password, "PLAIN")
    return client


async def stock_deliver(url: BrokerURL, count: int) -> None:
    client = await stock_connect(url, lambda msg: None)
    channel = await client.channel(1)
    await channel.channel_open()
    await channel.basic_qos(prefetch_count=PREFETCH)
    await channel.basic_consume(
        queue=STREAM, consumer_tag="c", arguments={"x-stream-offset": "first"}
    )
    queue = await client.queue("c")
    meter = Meter(count)
    for number in range(count):
        message = await queue.get()
        meter.add(1)
        if number % 100 == 99:
            channel.basic_ack(delivery_tag=message.delivery_tag, multiple=True)


async def stock_publish(url: BrokerURL, count: int) -> None:
    from txamqp.content import Content

    waiting: dict[int, defer.Deferred[None]] = {}

    def acked(message: Any) -> None:
        tags = [message.delivery_tag]
        if message.multiple:
            tags = [tag for tag in waiting if tag <= message.delivery_tag]
        for tag in tags:
            waiting.pop(tag).callback(None)

    client = await stock_connect(url, acked)
    channel = await client.channel(1)
    await channel.channel_open()
    await channel.confirm_select()
    properties = dict(PROPERTIES)
    meter = Meter(count)
    sent = 0

    def send() -> None:
        nonlocal sent
        if sent < count:
            sent += 1
            waiting[sent] = defer.Deferred()
            waiting[sent].addCallback(confirmed)
            content = Content(BODY, properties=properties)
            channel.basic_publish(routing_key=STREAM, mandatory=True, content=content)

    def confirmed(_: None) -> None:
        meter.add(1)
        send()

    meter.start()
    for _ in range(WINDOW):
        send()
    await meter.done


# -- pika ------------------------------------------------------------------------------------------


def pika_run(url: BrokerURL, ready: Callable[[Any, Any], None]) -> None:
    import pika

    def opened(connection: Any) -> None:
        connection.channel(on_open_callback=lambda channel: ready(connection, channel))

    parameters = pika.ConnectionParameters(
        url.hosts[0].name,
        url.hosts[0].port,
        url.vhost,
        pika.PlainCredentials(url.user, url.password),
    )
    connection = pika.SelectConnection(parameters, on_open_callback=opened)
    connection.ioloop.start()


def pika_deliver(url: BrokerURL, count: int) -> None:
    meter = Meter(count)

    def ready(connection: Any, channel: Any) -> None:
        def deliver(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            meter.add(1)
            if method.delivery_tag % 100 == 0:
                channel.basic_ack(method.delivery_tag, multiple=True)
            if meter.done.called:
                connection.ioloop.stop()

        channel.basic_qos(prefetch_count=PREFETCH)
        channel.basic_consume(STREAM, deliver, arguments={"x-stream-offset": "first"})

    pika_run(url, ready)


def pika_publish(url: BrokerURL, count: int) -> None:
    import pika

    meter = Meter(count)

    def ready(connection: Any, channel: Any) -> None:
        last = sent = 0
        properties = pika.BasicProperties(
            **{name.replace("-", "_"): value for name, value in PROPERTIES.items()}
        )

        def send() -> None:
            nonlocal sent
            if sent < count:
                sent += 1
                channel.basic_publish("", STREAM, BODY, properties, mandatory=True)

        def acked(frame: Any) -> None:
            nonlocal last
            fresh = frame.method.delivery_tag - last if frame.method.multiple else 1
            last = max(last, frame.method.delivery_tag) if frame.method.multiple else last + 1
            meter.add(fresh)
            for _ in range(fresh):
                send()
            if meter.done.called:
                connection.ioloop.stop()

        def selected(_: object) -> None:
            meter.start()
            for _ in range(WINDOW):
                send()

        channel.confirm_delivery(acked, callback=selected)

    pika_run(url, ready)


# -- running them ----------------------------------------------------------------------------------

PEERS: dict[str, dict[str, Callable[[BrokerURL, int], Any]]] = {
    "chatd": {"deliver": chatd_deliver, "publish": chatd_publish},
    "stock txAMQP": {"deliver": stock_deliver, "publish": stock_publish},
    "pika": {"deliver": pika_deliver, "publish": pika_publish},
}


def child(arguments: argparse.Namespace) -> None:
    url = BrokerURL.parse(arguments.broker)
    if arguments.peer == "pika":
        PEERS["pika"][arguments.mode](url, arguments.count)
        return
    work = PEERS[arguments.peer].get(arguments.mode) or {"fill": fill, "drop": drop}[arguments.mode]
    task.react(lambda _: defer.ensureDeferred(work(url, arguments.count)))


def run(arguments: argparse.Namespace, peer: str, mode: str, count: int) -> str:
    command = [sys.executable, __file__, "--broker", arguments.broker, "--count", str(count)]
    command += ["--peer", peer, "--mode", mode]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=600
    ).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", choices=PEERS)
    parser.add_argument("--mode", choices=["deliver", "publish", "fill", "drop"])
    arguments = parser.parse_args()
    if arguments.peer:
        child(arguments)
        return
    if arguments.broker:
        compare(arguments)
        return
    node = Node().start()
    try:
        arguments.broker = node.url()
        compare(arguments)
    finally:
        node.close()


def compare(arguments: argparse.Namespace) -> None:
    run(arguments, "chatd", "fill", arguments.count)
    figures: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.rounds):
        for peer in PEERS:
            for mode in PEERS[peer]:
                count = arguments.count // (4 if "stock" in peer else 1)
                figures.setdefault((peer, mode), []).append(
                    float(run(arguments, peer, mode, count))
                )
    run(arguments, "chatd", "drop", 0)
    print(f"{'':14}{'µs/delivery':>14}{'µs/publish':>14}")
    for peer in PEERS:
        medians = [statistics.median(figures[peer, mode]) for mode in ("deliver", "publish")]
        print(f"{peer:14}{medians[0]:14.1f}{medians[1]:14.1f}")


if __name__ == "__main__":
    main()
