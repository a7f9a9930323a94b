"""Fan-out: bytes that were encoded once, to all who get the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.logger import Logger

from chatd.net.socket_group import SharedRing, SocketGroup
from chatd.rooms.interfaces import IEncoding, ISubscriber
from chatd.rooms.subscription import Subscription

_log = Logger()


class WritableSubscriptions:
    """Subscriptions that are written to by their subscriber's own `ISubscriber.send`.

    Sending to them is what a large room costs. It touches nothing of a connection but that
    function or its socket: one look at each connection's state would cost a third more, in cache
    misses.
    """

    def __init__(self, ring: SharedRing) -> None:
        self._sockets = SocketGroup(ring)
        self._subscriptions: list[Subscription] = []
        self._places: dict[Subscription, int] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def add(self, subscription: Subscription, send: Callable[[bytes], int]) -> None:
        self._places[subscription] = len(self._subscriptions)
        self._subscriptions.append(subscription)
        self._sockets.append(send)

    def remove(self, subscription: Subscription) -> None:
        """Take ``subscription`` out, if it is here; the last one takes its place."""
        place = self._places.pop(subscription, None)
        if place is None:
            return
        self._sockets.remove(place)
        last = self._subscriptions.pop()
        if last is not subscription:
            self._subscriptions[place] = last
            self._places[last] = place

    def clear(self) -> None:
        """Take all out."""
        self._sockets.clear()
        self._subscriptions, self._places = [], {}

    def send(self, data: bytes) -> None:
        """Write ``data`` to all; what a client does not take at once is kept for it."""
        if short := self._sockets.send(data):
            found = [(self._subscriptions[place], taken) for place, taken in short]
            for subscription, taken in found:  # each of which then leaves
                try:
                    subscription.subscriber.keep(data[taken:])
                except Exception:
                    _log.failure(
                        "A client's end keeps nothing; the others have what they are sent."
                    )


class LiveSubscriptions:
    """Live subscriptions of one room that share an encoding."""

    def __init__(self, encoding: IEncoding, ring: SharedRing) -> None:
        self.encoding = encoding
        self._writable = WritableSubscriptions(ring)
        #: Those who are asked each time: who has just stopped taking messages, or has something
        #: between itself and its socket, such as TLS.
        self._asked: dict[Subscription, ISubscriber] = {}

    def __len__(self) -> int:
        return len(self._writable) + len(self._asked)

    def add(self, subscription: Subscription) -> None:
        self.remove(subscription)
        subscriber = subscription.subscriber
        if subscriber.send is not None:
            self._writable.add(subscription, subscriber.send)
        else:
            self._asked[subscription] = subscriber

    def remove(self, subscription: Subscription) -> None:
        self._writable.remove(subscription)
        self._asked.pop(subscription, None)

    def clear(self) -> None:
        """Take all out."""
        self._writable.clear()
        self._asked.clear()

    def send(self, data: bytes, end: int) -> Iterator[Subscription]:
        """Hand over the messages up to the offset ``end``. Yields each that refuses, who is to be
        removed at once."""
        asked = list(self._asked.items())  # before those who are to be asked only from now on
        self._writable.send(data)
        for subscription, subscriber in asked:
            try:
                taken = subscriber.deliver(data, end)
            except Exception:
                _log.failure("A client's end takes nothing; the others have what they are sent.")
                taken = False
            if not taken:
                yield subscription
