"""A client of RabbitMQ that somebody else wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pika
from pika.adapters.blocking_connection import BlockingChannel


@contextmanager
def pika_channel(parameters: pika.connection.Parameters) -> Iterator[BlockingChannel]:
    """A channel in confirm mode, on a connection of its own."""
    connection = pika.BlockingConnection(parameters)
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
    finally:
        connection.close()
