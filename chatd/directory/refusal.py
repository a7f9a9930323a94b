"""What is told whose request the broker cannot serve now."""

from __future__ import annotations

from chatd.brokers.interfaces import NotStored, Unavailable
from chatd.protocol.errors import ChatError, Code


def unavailable(error: Unavailable | None = None) -> ChatError:
    """The refusal for what needs the broker while it is away, or fails with ``error``."""
    why = str(error) if error is not None else ""
    return ChatError(
        Code.UNAVAILABLE,
        f"The broker cannot do it now: {why or 'it is away'}; try again.",
        retry=2,
        stored=False if isinstance(error, NotStored) else None,
    )
