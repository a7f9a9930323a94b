"""Who gets what a room brings: the live subscriptions, in groups that take turns.

A message to 5,000 clients is 35 ms of sending, in which nobody else on the node is served. So in
each turn of the reactor groups are sent to until `GROUP` subscriptions were served, and the other
groups wait. What comes meanwhile is kept until the last group has had it, and the later groups get
it in the same write. Each connection gets all in order, because a group is only ever sent what
follows on what it has.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from chatd.net.socket_group import SharedRing
from chatd.protocol.messages import Message, by_offset
from chatd.rooms.fanout import LiveSubscriptions
from chatd.rooms.interfaces import IEncoding
from chatd.rooms.subscription import Subscription
from chatd.timing.turn_queue import TurnQueue

#: Bytes of message objects handed to a subscriber at once: what a stalled one costs at most.
BATCH_BYTES = 48 * 1024
#: Subscriptions in a group: about 4 ms of sending.
GROUP = 500
#: Bytes of message objects that wait for later groups; with more, nobody waits.
WAITING_BYTES = 512 * 1024

#: Several messages, encoded, and as they are.
Encoded = tuple[bytes, Sequence[Message]]


class Audience:
    """The live subscriptions of one room.

    ``turns`` makes one call in a turn of the reactor. ``count`` is told of messages, and to how
    many subscriptions they went.
    """

    def __init__(
        self,
        turns: TurnQueue,
        ring: SharedRing,
        count: Callable[[Sequence[Message], int], None],
    ) -> None:
        self._turns = turns
        self._ring = ring
        self._count = count
        self._groups: list[LiveSubscriptions] = []
        self._group_of: dict[Subscription, LiveSubscriptions] = {}
        #: The groups that have not had all, who has waited longest first; and the offset of the
        #: first message that they miss.
        self._missing: dict[LiveSubscriptions, int] = {}
        #: The messages that some group misses.
        self._messages: list[Message] = []
        self._bytes = 0
        #: What was encoded of these, by encoding and first message.
        self._encoded: dict[tuple[IEncoding, int], list[Encoded]] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def add(self, subscription: Subscription) -> None:
        """``subscription`` has all there is and gets what comes; or its `ISubscriber.send` is
        another one now."""
        group = self._group_of.get(subscription)
        if group is None:
            group = self._with_space(subscription.subscriber.encoding)
            self._group_of[subscription] = group
        group.add(subscription)

    def _with_space(self, encoding: IEncoding) -> LiveSubscriptions:
        """A group that has space, and misses nothing."""
        fitting = (g for g in self._groups if g.encoding is encoding and len(g) < GROUP)
        group = next(fitting, None)
        if group in self._missing:
            self._serve(group)
        if not group:  # there is none, or nobody in it took what it missed
            self._groups.append(group := LiveSubscriptions(encoding, self._ring))
        return group

    def remove(self, subscription: Subscription) -> None:
        """``subscription`` gets nothing more; it need not be live."""
        group = self._group_of.pop(subscription, None)
        if group is None:
            return
        group.remove(subscription)
        if not group:
            self._groups.remove(group)
            self._missing.pop(group, None)
            self._forget()

    def clear(self) -> list[Subscription]:
        """Take all out, once they have all that was sent, and return them."""
        self.flush()
        live = list(self._group_of)
        for group in self._groups:
            group.clear()
        self._group_of, self._groups = {}, []
        return live

    def missing(self, subscription: Subscription) -> int | None:
        """The offset of the first message that ``subscription`` still waits for."""
        group = self._group_of.get(subscription)
        return self._missing.get(group) if group is not None else None

    def send(self, messages: Sequence[Message]) -> None:
        """Hand ``messages`` to all, to some of them in later turns; who refuses is left behind."""
        if len(self._groups) <= 1 and not self._missing:
            for group in self._groups:
                self._hand(group, messages, _encode(group.encoding, messages))
            return
        under_way = bool(self._missing)
        for group in self._groups:
            self._missing.setdefault(group, messages[0].offset)
        self._messages += messages
        self._bytes += sum(len(message.json) for message in messages)
        self._encoded = {}
        if not under_way:
            self._turn()
        elif self._bytes > WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Serve all who wait."""
        while self._missing:
            self._serve(next(iter(self._missing)))

    def _turn(self) -> None:
        served = 0
        try:
            while self._missing and served < GROUP:
                group = next(iter(self._missing))
                served += len(group)
                self._serve(group)
        finally:  # whatever happens: while some miss something, nobody else begins it again
            if self._missing:
                self._turns.add(self._turn)

    def _serve(self, group: LiveSubscriptions) -> None:
        """Send ``group`` all that it misses."""
        first = self._missing.pop(group)
        messages = self._messages[bisect_left(self._messages, first, key=by_offset) :]
        encoded = self._encoded.get((group.encoding, first))
        if encoded is None:
            encoded = self._encoded[group.encoding, first] = _encode(group.encoding, messages)
        self._forget()
        self._hand(group, messages, encoded)

    def _hand(
        self, group: LiveSubscriptions, messages: Sequence[Message], encoded: Sequence[Encoded]
    ) -> None:
        delivered = 0
        for data, batch in encoded:
            for subscription in group.send(data, batch[-1].offset):
                self.remove(subscription)
                subscription.fell_behind(batch[0].offset - 1)
            delivered += len(batch) * len(group)
        self._count(messages, delivered)

    def _forget(self) -> None:
        """Forget the messages that no group misses."""
        if not self._missing:
            self._messages, self._bytes, self._encoded = [], 0, {}
            return
        had = bisect_left(self._messages, next(iter(self._missing.values())), key=by_offset)
        self._bytes -= sum(len(message.json) for message in self._messages[:had])
        del self._messages[:had]


def _encode(encoding: IEncoding, messages: Sequence[Message]) -> list[Encoded]:
    if len(messages) == 1:
        return [(encoding.encode(messages), messages)]
    return [(encoding.encode(batch), batch) for batch in _batches(messages)]


def _batches(messages: Sequence[Message]) -> list[Sequence[Message]]:
    batches: list[Sequence[Message]] = []
    start = size = 0
    for i, message in enumerate(messages):
        if size and size + len(message.json) > BATCH_BYTES:
            batches.append(messages[start:i])
            start, size = i, 0
        size += len(message.json)
    batches.append(messages[start:])
    return batches
