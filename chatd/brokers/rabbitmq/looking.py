"""What is at a broker's address, tried without changing anything."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from txamqp.client import Closed

from chatd.amqp.client import Client
from chatd.amqp.service import BrokerConnection
from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import DIRECTORY
from chatd.errors import StartError

#: Seconds for all hosts together.
PATIENCE = 12.0


async def look(reactor: Any, url: BrokerURL) -> str:
    """Connect as a node does, to any of the hosts; what answers there, in a line. `StartError`
    with the last reason if none does in time."""
    found: Deferred[str] = Deferred()

    async def opened(client: Client) -> None:
        there = await _has_directory(client)
        if not found.called:
            found.callback(
                f"{client.server} answers as {url}; "
                + ("it holds chatd's rooms" if there else "chatd has no rooms there yet")
            )

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


async def _has_directory(client: Client) -> bool:
    channel = await client.open_channel()
    try:
        await channel.queue_declare(queue=DIRECTORY.name, passive=True)
    except Closed:
        return False
    return True
