"""A poll that waits for the next message."""

from __future__ import annotations

from collections.abc import Sequence

from chatd.access.identity import Identity
from chatd.protocol.messages import Message
from chatd.rooms.start_position import Last, Since, Start
from chatd.service.chat import Answer
from chatd.transports.http.parameters import wait_of
from chatd.transports.http.poll_presence import Pollers
from chatd.transports.http.router import Call


async def held_poll(
    pollers: Pollers, call: Call, identity: Identity, name: str, start: Start, limit: int
) -> Answer:
    """`Chat.poll`, counted as a connection while it may wait, and given up with the client.

    A named caller is present by it, unless it only looks back, which waits for nothing.
    """
    wait, address = wait_of(call), call.caller.address
    poller = identity.user and (wait or not isinstance(start, Last | Since))
    release = call.door.connections.admit(address) if wait else lambda: None
    try:
        if poller:
            pollers.seen(identity, name, address)
        if identity.expires is not None:
            wait = min(wait, max(0.0, identity.expires - call.door.wall.seconds()))
        found = await call.with_client(pollers.chat.poll(identity, name, start, limit, wait))
        if wait and not found.messages:
            call.door.check_expiry(identity)
        if poller:
            pollers.seen(identity, name, address)
        return found
    finally:
        release()


def listing(messages: Sequence[Message]) -> bytes:
    """The messages as a JSON array."""
    return b"[" + b",".join([m.json for m in messages]) + b"]"
