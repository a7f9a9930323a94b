"""Looking at what is at a broker's address before it is used, without changing anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater
from txamqp.client import ChannelClosed

from chatd.amqp.channel import reason_of
from chatd.amqp.client import Client
from chatd.amqp.hosts import Hosts
from chatd.amqp.service import BrokerConnection
from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import DIRECTORY, Unavailable
from chatd.brokers.rabbitmq.queues import has_queue
from chatd.brokers.rabbitmq.witnesses import Witnesses
from chatd.errors import StartError

#: Seconds for all hosts together.
PATIENCE = 12.0


@define(eq=False)
class _EachOnce(Hosts):
    """Calls ``tried_all`` when none of the hosts could be connected to, at any address."""

    tried_all: Callable[[], None] = field(kw_only=True)
    _tried_hosts: set[int] = field(factory=set, init=False)

    def unreachable(self, host: int) -> None:
        super().unreachable(host)
        if not self.addresses[host].more:
            self._tried_hosts.add(host)
        if len(self._tried_hosts) == self.count:
            self.tried_all()


def _refused(url: BrokerURL, connection: BrokerConnection) -> StartError:
    return StartError(f"cannot use the broker {url}: {connection.trouble or 'no answer in time'}")


async def look(reactor: Any, url: BrokerURL) -> str:
    """Connect as a node does, to each of the hosts until one answers; what does, in a line.
    `StartError` with the last reason if none does, or not in time."""
    found: Deferred[str] = Deferred()
    hosts = _EachOnce(len(url.hosts), tried_all=lambda: tried_all())
    witnesses = Witnesses(reactor, url, hosts.addresses)

    async def opened(client: Client) -> None:
        rooms = await _rooms(client, witnesses)
        if not found.called:
            found.callback(f"{client.server} answers as {url}; {rooms}")

    def tried_all() -> None:
        if not found.called:
            found.errback(_refused(url, connection))

    connection = BrokerConnection(reactor, url, "chatd check", opened, lambda _: None, hosts)
    connection.startService()
    found.addTimeout(PATIENCE, reactor)
    try:
        return await found
    except TimeoutError:
        raise _refused(url, connection) from None
    finally:
        # when it has taken the connection, which it does after `opened`: else it is told of its
        # end, and knows nothing of it
        await deferLater(reactor, 0)
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
