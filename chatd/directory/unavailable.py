"""From a broker's `Unavailable` to the error that a client gets."""

from __future__ import annotations

from chatd.brokers.interfaces import NotStored, Unavailable
from chatd.protocol.errors import ChatError, Code


def unavailable(error: Unavailable | None = None) -> ChatError:
    """The `ChatError` for a request that failed with ``error``, or (None) that needs the broker
    while it is away."""
    why = str(error) if error is not None else ""
    return ChatError(
        Code.UNAVAILABLE,
        f"The broker cannot do it now: {why or 'it is away'}; try again.",
        retry=2,
        stored=False if isinstance(error, NotStored) else None,
    )
