"""The exchanges that chatd shares with other programs (protocol, "AMQP")."""

from __future__ import annotations

from chatd.amqp.client import Client

MESSAGES, EVENTS, PRESENCE = "chatd", "chatd.events", "chatd.presence"


async def declare_exchanges(client: Client) -> None:
    """Declare the exchanges."""
    channel = await client.open_channel()
    for exchange, kind in ((MESSAGES, "topic"), (EVENTS, "topic"), (PRESENCE, "fanout")):
        await channel.exchange_declare(exchange=exchange, type=kind, durable=True)
    await client.close_channel(channel)
