"""Ephemeral events, which are shown and not stored: who is typing, and who came and went.

An event to 5,000 clients is 50 ms of sending, in which nobody else on the node is served. So some
of them are told in each turn of the reactor, as `chatd.rooms.audience` does with messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatd.access.rate_limit import Bucket, Rate
from chatd.presence.board import News
from chatd.rooms.interfaces import IEncoding
from chatd.rooms.subscription import Subscription
from chatd.timing.turn_queue import TurnQueue

#: Subscriptions that are told in one turn: about 5 ms of sending.
A_TURN = 500
#: Events of a room under way at once, each of which holds a list of its subscriptions.
UNDER_WAY = 8
#: How often in a second a client of one room is shown on one node that somebody is typing. In a
#: crowd each of whom types, that would else grow with its square.
SHOWN = Rate(20_000, burst=20_000, what="typing events")

#: Shows an event to one subscription.
Show = Callable[[Subscription], None]

_log = Logger()


class EphemeralEvents:
    """Those of one room, for those among ``subscriptions``, which change. ``turns`` makes one
    call in a turn of the reactor."""

    def __init__(
        self, turns: TurnQueue, clock: IReactorTime, subscriptions: Mapping[Subscription, None]
    ) -> None:
        self._turns = turns
        self._clock = clock
        self._subscriptions = subscriptions
        #: Who has still to be told of each.
        self._under_way: list[tuple[list[Subscription], Show]] = []
        self._shown: Bucket | None = None

    def notify(self, frame: dict[str, Any], besides: str) -> None:
        """Show ``frame`` to all who can take it now but the user ``besides``; to nobody if there
        were too many of late."""
        if len(self._under_way) == UNDER_WAY or not self._may():
            return
        encode = _once(frame)

        def show(subscription: Subscription) -> None:
            to = subscription.subscriber
            if to.identity.user != besides:
                to.notify(encode(to.encoding))

        self._tell(show)

    def presence(self, room: str, news: News) -> None:
        """Tell all who came and went; who cannot take it now is told later."""
        encode = _once(news.frame(room))
        self._tell(lambda one: one.presence(news, encode(one.subscriber.encoding)))

    def _may(self) -> bool:
        """Whether typing may be shown to all once more."""
        if self._shown is None:
            self._shown = SHOWN.bucket()
        if self._shown.wait(self._clock.seconds()):
            return False
        self._shown.spend(len(self._subscriptions))
        return True

    def _tell(self, show: Show) -> None:
        while len(self._under_way) >= UNDER_WAY:  # then nobody waits
            self._show_some(A_TURN)
        self._under_way.append((list(self._subscriptions), show))
        if len(self._under_way) == 1:
            self._turn()

    def _turn(self) -> None:
        left = A_TURN
        try:
            while self._under_way and left:
                left -= self._show_some(left)
        finally:
            if self._under_way:
                self._turns.add(self._turn)

    def _show_some(self, most: int) -> int:
        """Show the oldest event to up to ``most`` more, and return to how many."""
        waiting, show = self._under_way[0]
        some, later = waiting[:most], waiting[most:]
        if later:
            self._under_way[0] = later, show
        else:
            del self._under_way[0]
        for subscription in some:
            if subscription in self._subscriptions:  # it may have left meanwhile
                try:
                    show(subscription)
                except Exception:
                    _log.failure("An event could not be shown to one; the others see it.")
        return len(some)


def _once(frame: dict[str, Any]) -> Callable[[IEncoding], bytes]:
    """A function that encodes ``frame``, once for each encoding asked for."""
    encoded: dict[IEncoding, bytes] = {}

    def encode(encoding: IEncoding) -> bytes:
        if encoding not in encoded:
            encoded[encoding] = encoding.event(frame)
        return encoded[encoding]

    return encode
