"""Publishing to a node's domain, as transports do."""

from __future__ import annotations

from collections.abc import Hashable

from chatd.access.identity import Identity
from chatd.service.chat import Chat
from chatd.service.outcomes import Receipt


async def publish(
    chat: Chat,
    user: str,
    room: str,
    text: str,
    id: str | None = None,
    sender: Hashable | None = None,
) -> Receipt:
    """Publish as ``user``; see `Chat.publish`."""
    identity = Identity(user)
    return await chat.publish(identity, chat.publication(identity, room, text, None, id), sender)
