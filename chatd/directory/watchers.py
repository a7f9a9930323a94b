"""Who is told of changes of the directory."""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

from chatd.directory.projection import DirectoryChange


class Watcher(Protocol):
    """Is told of each change at the fold, in the order all nodes see."""

    def directory_changed(self, change: DirectoryChange) -> None:
        """``change`` has just taken effect."""


class Watchers:
    """All who are told; one that fails does not keep the others from it."""

    _log = Logger()

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []

    def add(self, watcher: Watcher) -> None:
        """Tell ``watcher`` of changes from now on."""
        self._watchers.append(watcher)

    def tell(self, change: DirectoryChange) -> None:
        """``change`` has just taken effect."""
        for watcher in self._watchers:
            try:
                watcher.directory_changed(change)
            except Exception:
                self._log.failure("A watcher of the directory failed; the others are told.")
