"""The names of all rooms in their order, for lists that are read page by page."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterator
from itertools import islice

from chatd.directory.projection import ChangeKind, DirectoryChange


class RoomNames:
    """The names of ``rooms()``, the directory's, sorted when they are first asked for and kept so
    from then on: a page of a hundred thousand costs what it shows. See
    `chatd.directory.watchers.Watcher`."""

    def __init__(self, rooms: Callable[[], Collection[str]]) -> None:
        self._rooms = rooms
        self._names: list[str] | None = None

    def directory_changed(self, change: DirectoryChange) -> None:
        """Follow the directory."""
        if self._names is None:
            return
        if not self._rooms():
            self._names = None  # it begins again, and says so for each room
        elif change.what is ChangeKind.CREATED:
            insort(self._names, change.entry.name)
        elif change.what is ChangeKind.DELETED:
            del self._names[bisect_left(self._names, change.entry.name)]

    def after(self, name: str) -> Iterator[str]:
        """The names that come after ``name``. Not to be gone on with after a change."""
        if self._names is None:
            self._names = sorted(self._rooms())
        return islice(self._names, bisect_right(self._names, name), None)
