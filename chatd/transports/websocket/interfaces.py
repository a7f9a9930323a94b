"""What a WebSocket connection tells the dialect that is spoken over it, and whoever made it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from chatd.access.admission import Admission
from chatd.service.chat import Chat
from chatd.telemetry.metrics import Metrics


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


class Home(Protocol):
    """What made a connection, and is told when it is open and when it is gone."""

    chat: Chat
    admission: Admission
    metrics: Metrics
    #: Makes what a connection speaks: the original's dialect, if so told.
    dialect: Callable[[Any, bool], Dialect]
    #: Bytes of a frame, and of a message, at most.
    max_frame: int

    def opened(self, connection: Any) -> None:
        """A connection is open."""

    def lost(self, connection: Any) -> None:
        """An open connection is gone."""
