"""Publishing to one room, each id once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, succeed

from chatd.interfaces import Unavailable
from chatd.recent import Window
from chatd.sharing import Shared
from chatd.wire import Content, content_key

#: Publishes under way in one room.
PENDING = 10_000


class Publishing:
    """The ids that a room knows, and those under way. ``store`` appends to the room's stream."""

    def __init__(self, store: Callable[[Content], Coroutine[Any, Any, None]]) -> None:
        self._store = store
        self._window = Window()
        #: Stored, but not yet brought by our own follower.
        self._confirmed: dict[int, None] = {}
        self._under_way: Shared[int, bool] = Shared()
        self._pending = 0

    def __len__(self) -> int:
        """How many are under way."""
        return self._pending

    def repeats(self, key: int | None) -> bool:
        """The stream brought a record (None: no message); whether it repeats an earlier one."""
        if key is not None:
            self._confirmed.pop(key, None)
        return self._window.repeats(key)

    def forget(self) -> None:
        """Know no ids any more: what the stream brings next is its beginning."""
        self._window = Window()
        self._confirmed = {}

    def publish(self, content: Content) -> Deferred[bool]:
        """Store a message. Fires with True when it is safe, with False if it was stored before;
        fails as ``store`` does."""
        key = content_key(content.user, content.id)
        if key in self._window or key in self._confirmed:
            return succeed(False)
        return self._under_way.run(key, lambda: self._append(key, content))

    async def _append(self, key: int, content: Content) -> bool:
        if self._pending >= PENDING:
            raise Unavailable
        confirmed = self._confirmed  # another, if the room begins anew meanwhile
        self._pending += 1
        try:
            await self._store(content)
        finally:
            self._pending -= 1
        if key not in self._window:
            confirmed[key] = None
        return True
