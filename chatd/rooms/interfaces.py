"""The interfaces that a transport implements for rooms: an encoding, and a subscriber."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zope.interface import Attribute, Interface

from chatd.access.identity import Identity
from chatd.protocol.errors import ChatError
from chatd.protocol.messages import Message


class IEncoding(Interface):
    """How a transport encodes messages and events. All its connections share one instance, so a
    batch is encoded once for all of them."""

    def encode(messages: Sequence[Message]) -> bytes:
        """Encode ``messages``, in order."""

    def event(frame: dict[str, Any]) -> bytes:
        """Encode a presence, typing or gap frame (protocol, "WebSocket"); empty if this transport
        does not show it."""


class ISubscriber(Interface):
    """The receiver of a subscription, implemented by a transport.

    Rooms buffer nothing for a subscriber. What `deliver` refuses is read from the stream again once
    the transport calls `chatd.rooms.subscription.Subscription.resume`.
    """

    encoding: IEncoding = Attribute("The encoding of the bytes given to `deliver` and `notify`.")
    identity: Identity = Attribute("The user who reads, and their rights.")
    send: Callable[[bytes], int] | None = Attribute(
        "Sends encoded messages at once and returns how many bytes it took, as `socket.send` does; "
        "None while `deliver` must be called instead. The transport calls "
        "`chatd.rooms.subscription.Subscription.send_changed` after each change."
    )

    def keep(rest: bytes) -> None:
        """Send ``rest``, which `send` did not take, when the client takes it."""

    def deliver(data: bytes, end: int) -> bool:
        """Send the encoded messages up to the offset ``end``; False, with nothing sent, if the
        transport is not writable."""

    def notify(data: bytes) -> bool:
        """Send an encoded event; False, with nothing sent, if the transport is not writable."""

    def closed(error: ChatError) -> None:
        """The room was deleted, or the user lost the right to it. The last call."""
