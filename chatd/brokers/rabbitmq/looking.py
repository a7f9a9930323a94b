"""What is at a broker's address, tried without changing anything."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from txamqp.client import ChannelClosed

from chatd.amqp.channel import reason_of
from chatd.amqp.client import Client
from chatd.amqp.service import BrokerConnection
from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import DIRECTORY, Unavailable
from chatd.brokers.rabbitmq.queues import has_queue
from chatd.brokers.rabbitmq.witnesses import Witnesses
from chatd.errors import StartError

#: Seconds for all hosts together.
PATIENCE = 12.0


async def look(reactor: Any, url: BrokerURL) -> str:
    """Connect as a node does, to any of the hosts; what answers there, in a line. `StartError`
    with the last reason if none does in time."""
    found: Deferred[str] = Deferred()
    witnesses = Witnesses(reactor, url)

    async def opened(client: Client) -> None:
        rooms = await _rooms(client, witnesses)
        if not found.called:
            found.callback(f"{client.server} answers as {url}; {rooms}")

    connection = BrokerConnection(reactor, url, "chatd check", opened, lambda _: None)
    connection.startService()
    found.addTimeout(PATIENCE, reactor)
    try:
        return await found
    except TimeoutError:
        why = connection.trouble or "no answer in time"
        raise StartError(f"cannot use the broker {url}: {why}") from None
    finally:
        await connection.stopService()


async def _rooms(client: Client, witnesses: Witnesses) -> str:
    """What a node that starts would find: that this host has no directory is not enough."""
    try:
        if await has_queue(await client.open_channel(), DIRECTORY):
            return "it holds chatd's rooms"
        await witnesses.confirm(DIRECTORY)
    except (ChannelClosed, Unavailable) as e:
        why = reason_of(e)
        return f"whether chatd has rooms there is not known, and it would wait: {why}"
    return "chatd has no rooms there yet"
