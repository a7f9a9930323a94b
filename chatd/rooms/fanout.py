"""Fan-out: one batch of messages to all who stand at a room's head, encoded once per encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chatd.presence.board import News
from chatd.protocol.messages import Message
from chatd.rooms.interfaces import IEncoding, ISubscriber
from chatd.rooms.subscription import Subscription

#: Bytes of message objects handed to a subscriber at once: what a stalled one costs at most.
BATCH_BYTES = 48 * 1024


class LiveSubscriptions:
    """The live subscriptions of one room."""

    def __init__(self) -> None:
        self._live: dict[IEncoding, dict[Subscription, ISubscriber]] = {}

    def add(self, subscription: Subscription) -> None:
        """``subscription`` has all there is and gets what comes."""
        subscriber = subscription.subscriber
        self._live.setdefault(subscriber.encoding, {})[subscription] = subscriber

    def remove(self, subscription: Subscription) -> None:
        """``subscription`` gets nothing more; it need not be live."""
        encoding = subscription.subscriber.encoding
        live = self._live.get(encoding)
        if live is not None:
            live.pop(subscription, None)
            if not live:
                del self._live[encoding]

    def clear(self) -> list[Subscription]:
        """Take all out, and return them."""
        live = [s for same in self._live.values() for s in same]
        self._live = {}
        return live

    def send(self, messages: Sequence[Message]) -> int:
        """Hand ``messages`` to all; who refuses is left behind. Returns the deliveries made."""
        delivered = 0
        for batch in _batches(messages):
            end = batch[-1].offset
            for encoding, live in list(self._live.items()):
                data = encoding.encode(batch)
                refused = [s for s, to in list(live.items()) if not to.deliver(data, end)]
                delivered += len(batch) * (len(live) - len(refused))
                for subscription in refused:
                    self.remove(subscription)
                    subscription.fell_behind(batch[0].offset - 1)
        return delivered


def tell(
    subscriptions: Iterable[Subscription], frame: dict[str, Any], besides: Subscription | None
) -> None:
    """Show a passing event to those who can take it now."""
    encode = _once(frame)
    for subscription in list(subscriptions):
        if subscription is not besides:
            to = subscription.subscriber
            to.notify(encode(to.encoding))


def tell_presence(subscriptions: Iterable[Subscription], room: str, news: News) -> None:
    """Tell all who came and went; who cannot take it now is told later."""
    encode = _once(news.frame(room))
    for subscription in list(subscriptions):
        subscription.presence(news, encode(subscription.subscriber.encoding))


def _once(frame: dict[str, Any]) -> Callable[[IEncoding], bytes]:
    """A function that encodes ``frame``, once for each encoding asked for."""
    encoded: dict[IEncoding, bytes] = {}

    def encode(encoding: IEncoding) -> bytes:
        if encoding not in encoded:
            encoded[encoding] = encoding.event(frame)
        return encoded[encoding]

    return encode


def _batches(messages: Sequence[Message]) -> list[Sequence[Message]]:
    if len(messages) == 1:
        return [messages]
    batches: list[Sequence[Message]] = []
    start = size = 0
    for i, message in enumerate(messages):
        if size and size + len(message.json) > BATCH_BYTES:
            batches.append(messages[start:i])
            start, size = i, 0
        size += len(message.json)
    batches.append(messages[start:])
    return batches
