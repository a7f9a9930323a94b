"""Observers of the directory."""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

from chatd.directory.projection import DirectoryChange


class Watcher(Protocol):
    """An observer of the directory."""

    def directory_changed(self, change: DirectoryChange) -> None:
        """``change`` has just taken effect. Called in the same order on all nodes."""


class Watchers:
    """The observers. An exception in one is logged, and does not affect the others."""

    _log = Logger()

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []

    def add(self, watcher: Watcher) -> None:
        """Call ``watcher`` for each change from now on."""
        self._watchers.append(watcher)

    def tell(self, change: DirectoryChange) -> None:
        """Call all watchers."""
        for watcher in self._watchers:
            try:
                watcher.directory_changed(change)
            except Exception:
                self._log.failure("A watcher of the directory failed; the others are told.")
