"""``amqp://`` and ``amqps://``: rooms on RabbitMQ, for any number of nodes.

txAMQP is imported only when it is used: it takes longer to load than the rest of chatd.
"""

from __future__ import annotations

from typing import Any

from chatd.brokers.interfaces import Retention
from chatd.brokers.kinds import Kind
from chatd.errors import StartError
from chatd.timing.wall import WallClock


def _check(address: str) -> None:
    from chatd.amqp.url import BrokerURL

    BrokerURL.parse(address)


def _make(reactor: Any, wall: WallClock, address: str, retention: Retention) -> Any:
    from chatd.amqp.url import BrokerURL
    from chatd.brokers.rabbitmq.broker import AMQPBroker

    return AMQPBroker(reactor, BrokerURL.parse(address), retention, wall=wall)


def _preflight(address: str) -> None:
    from chatd.amqp.tls import tls_options
    from chatd.amqp.url import BadURL, BrokerURL

    url = BrokerURL.parse(address)
    try:
        if url.tls:
            tls_options(url, url.hosts[0].name)
    except BadURL as e:
        raise StartError(str(e)) from None


async def _look(reactor: Any, address: str) -> str:
    from chatd.amqp.url import BrokerURL
    from chatd.brokers.rabbitmq.inspection import look

    return await look(reactor, BrokerURL.parse(address))


RABBITMQ = Kind(
    ("amqp", "amqps"),
    "amqp://user:pass@host[:port][,host...]/vhost or amqps://...",
    _check,
    _make,
    _look,
    _preflight,
)
