"""Ids that are known for longer than the deduplication window, after this process stood still.

Who gets no answer from a node that stands still sends a message again, to another node. When the
first one goes on, it reads the first copies from its sockets: they say nothing of a repeat, and
more records than the window has may have come since. So for a while after a standstill ids are
remembered that fall out of the windows, and no search is needed, whatever comes how often. That all
has come which was stored meanwhile is made sure of once for each room, by its first publish.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from attrs import Factory, define, field
from twisted.internet.interfaces import IReactorTime

from chatd.rooms.late_copies import LATE

#: Keys that are kept on a node, at most: some 20 MB. The first ones stay; a copy that lay in a
#: socket is read soon, and was sent again while the process stood still.
KEYS = 250_000


@define(eq=False)
class FormerIds:
    """The keys (`content_key`) that fell out of the windows of a node's rooms, for `LATE` seconds
    after a standstill. ``standstills`` is as in `DirectorySync`."""

    clock: IReactorTime
    standstills: Callable[[], int]
    #: Whether there was a standstill of late.
    kept: bool = field(default=False, init=False)
    _known: int = field(init=False, default=Factory(lambda self: self.standstills(), True))
    #: Until when they are kept (the clock's seconds).
    _until: float = field(default=0.0, init=False)
    _keys: dict[Hashable, set[int]] = field(factory=dict, init=False)
    _number: int = field(default=0, init=False)

    def look(self) -> int:
        """How often the process has stood still. To be called before records are read, and before
        a key is looked for."""
        count = self.standstills()
        if count != self._known:
            self._known, self.kept = count, True
            self._until = self.clock.seconds() + LATE
        elif self.kept and self.clock.seconds() >= self._until:
            self.kept, self._number = False, 0
            self._keys.clear()
        return count

    def add(self, window: Hashable, key: int) -> None:
        """A key has fallen out of ``window``."""
        if self.kept and self._number < KEYS:
            keys = self._keys.setdefault(window, set())
            self._number -= len(keys)
            keys.add(key)
            self._number += len(keys)

    def knows(self, window: Hashable, key: int) -> bool:
        """Whether it has, of late."""
        return self.kept and key in self._keys.get(window, ())

    def forget(self, window: Hashable) -> None:
        """There is no such window any more."""
        self._number -= len(self._keys.pop(window, ()))
