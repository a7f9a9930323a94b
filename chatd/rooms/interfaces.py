"""What a transport promises the rooms: how it writes messages, and how it takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import Attribute, Interface

from chatd.access.identity import Identity
from chatd.errors import StartError as StartError
from chatd.protocol.errors import ChatError
from chatd.protocol.messages import Message


class IEncoding(Interface):
    """How a transport writes what happens in a room. One instance serves all its connections, so
    that anything is encoded once for all subscribers that get the same."""

    def encode(messages: Sequence[Message]) -> bytes:
        """The bytes that carry ``messages``, in order, on this transport."""

    def event(frame: dict[str, Any]) -> bytes:
        """The bytes that carry a presence, typing or gap frame; empty if it is not shown here."""


class ISubscriber(Interface):
    """A client's end of a subscription, provided by a transport.

    The domain never queues for a subscriber: what `deliver` refuses is read again from the room
    once the transport calls `chatd.rooms.subscription.Subscription.resume`.
    """

    encoding: IEncoding = Attribute("The encoding of what `deliver` and `notify` are given.")
    identity: Identity = Attribute("Who reads, and with which rights.")

    def deliver(data: bytes, end: int) -> bool:
        """Take the encoded messages up to the offset ``end``, or refuse all of them (False)
        because the transport is not draining."""

    def notify(data: bytes) -> bool:
        """Take an encoded event, or refuse it because the transport is not draining."""

    def closed(error: ChatError) -> None:
        """The subscription ended: the room is gone, or the right to it. No call follows."""
