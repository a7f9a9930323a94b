"""Publishing to one room, each id once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime

from chatd.brokers.interfaces import Unavailable
from chatd.protocol.messages import Content, content_key
from chatd.rooms.deduplication import Window
from chatd.timing.singleflight import Shared

#: Publishes under way in one room.
PENDING = 10_000
#: Seconds that a message which is stored is waited for.
SHOWN = 5.0


class Publishing:
    """The ids that a room knows, and those under way. ``store`` appends to the room's stream;
    ``late`` is called when the follower does not bring what is stored.

    A message counts as published when the broker has confirmed it and our own follower has brought
    it: who is told so can read it on this node at once.
    """

    def __init__(
        self,
        store: Callable[[Content], Coroutine[Any, Any, None]],
        late: Callable[[], None],
        clock: IReactorTime,
    ) -> None:
        self._store = store
        self._late = late
        self._clock = clock
        self._window = Window()
        #: Under way, and not yet brought by our own follower: that may come before the broker
        #: confirms, and so much more with it that the window has forgotten again.
        self._unseen: set[int] = set()
        #: Stored, but not brought in time by our own follower.
        self._confirmed: dict[int, None] = {}
        #: Stored, and waited for.
        self._awaited: dict[int, Deferred[None]] = {}
        self._under_way: Shared[int, bool] = Shared()
        self._pending = 0

    def __len__(self) -> int:
        """How many are under way."""
        return self._pending

    def repeats(self, key: int | None) -> bool:
        """The stream brought a record (None: no message); whether it repeats an earlier one."""
        if key is not None:
            self._confirmed.pop(key, None)
            self._unseen.discard(key)
        repeated = self._window.repeats(key)
        if key in self._awaited:
            self._awaited.pop(key).callback(None)
        return repeated

    def forget(self) -> None:
        """Know no ids any more: what the stream brings next is its beginning. What is waited for
        may be lost with the stream."""
        self._window = Window()
        self._confirmed = {}
        awaited, self._awaited = self._awaited, {}
        for shown in awaited.values():
            shown.errback(Unavailable())

    def release(self) -> None:
        """Do not wait for what is stored: the follower is interrupted."""
        awaited, self._awaited = self._awaited, {}
        for key, shown in awaited.items():
            self._confirmed[key] = None
            shown.callback(None)

    def publish(self, content: Content) -> Deferred[bool]:
        """Store a message. Fires with True when it is safe, with False if it was stored before;
        fails as ``store`` does."""
        key = content_key(content.user, content.id)
        if not content.fresh and (key in self._window or key in self._confirmed):
            return succeed(False)
        return self._under_way.run(key, lambda: self._append(key, content))

    async def _append(self, key: int, content: Content) -> bool:
        if self._pending >= PENDING:
            raise Unavailable
        window = self._window
        self._pending += 1
        self._unseen.add(key)
        try:
            await self._store(content)
            if window is not self._window:
                raise Unavailable  # the room began anew meanwhile
            if key in self._unseen:
                await self._shown(key)
        finally:
            self._pending -= 1
            self._unseen.discard(key)
        return True

    async def _shown(self, key: int) -> None:
        shown: Deferred[None] = Deferred()
        self._awaited[key] = shown
        try:
            await shown.addTimeout(SHOWN, self._clock)
        except TimeoutError:
            del self._awaited[key]
            self._confirmed[key] = None
            self._late()
