"""A program other than chatd on a RabbitMQ node: pika, with confirmations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pika
from pika.adapters.blocking_connection import BlockingChannel

#: Arguments of a queue.
STREAM = {"x-queue-type": "stream"}


@contextlib.contextmanager
def channel_to(url: str) -> Iterator[BlockingChannel]:
    """A channel of a new connection to ``url``."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
    finally:
        connection.close()


def read_one(url: str, queue: str) -> bytes:
    """Read a stream's first record; a node that starts has its streams a moment after its ports."""
    while True:
        try:
            with channel_to(url) as channel:
                return _first(channel, queue)
        except pika.exceptions.ChannelClosedByBroker as error:
            if "home node" not in error.reply_text:
                raise


def _first(channel: BlockingChannel, queue: str) -> bytes:
    channel.basic_qos(prefetch_count=1)
    for _, _, body in channel.consume(queue, arguments={"x-stream-offset": "first"}):
        return bytes(body)
    raise AssertionError("the stream ended")
