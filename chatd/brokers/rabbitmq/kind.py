"""``amqp://`` and ``amqps://``: rooms on RabbitMQ, for any number of nodes.

txAMQP is imported only when it is used: it takes longer to load than the rest of chatd.
"""

from __future__ import annotations

from typing import Any

from chatd.brokers.interfaces import Retention
from chatd.brokers.kinds import Kind
from chatd.timing.wall import WallClock


def _check(address: str) -> None:
    from chatd.amqp.url import BrokerURL

    BrokerURL.parse(address)


def _make(reactor: Any, wall: WallClock, address: str, retention: Retention) -> Any:
    from chatd.amqp.url import BrokerURL
    from chatd.brokers.rabbitmq.broker import AMQPBroker

    return AMQPBroker(reactor, BrokerURL.parse(address), retention, wall=wall)


RABBITMQ = Kind(
    ("amqp", "amqps"),
    "amqp://user:pass@host[:port][,host...]/vhost or amqps://...",
    _check,
    _make,
)
