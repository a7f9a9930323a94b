"""What a WebSocket connection tells the dialect that is spoken over it."""

from __future__ import annotations

from typing import Protocol


class Dialect(Protocol):
    """What is said over an open connection."""

    def opened(self) -> None:
        """The handshake is done."""

    def received(self, payload: bytes, binary: bool) -> None:
        """A message came from the client."""

    def writable(self) -> None:
        """The transport is writable again after backpressure."""

    def blocked(self) -> None:
        """The transport is no longer writable."""

    def drain(self, retry: int) -> None:
        """The node is going down; the client should come back after ``retry`` milliseconds."""

    def closed(self) -> None:
        """The connection is gone."""
