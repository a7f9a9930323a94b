"""Putting calls off to the end of a piece of work, so that what comes up many times is done once:
the answers to all publishes of a batch leave in one write for each client."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from twisted.logger import Logger


class Gathering:
    """Collects calls inside a ``with`` block, and makes them when the block ends.

    Blocks do not nest: the end of an inner one makes all calls, and closes the outer one as well.
    If a call fails, that is logged, and the others are made.
    """

    _log = Logger()

    def __init__(self) -> None:
        #: Whether a block has begun and not ended.
        self.open = False
        self._calls: list[Callable[[], None]] = []

    def add(self, call: Callable[[], None]) -> None:
        """Make ``call`` when the block ends. May only be called while `open`."""
        self._calls.append(call)

    def __enter__(self) -> None:
        self.open = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.open = False
        calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except Exception:
                self._log.failure("A call that was put off failed; the others are made.")
