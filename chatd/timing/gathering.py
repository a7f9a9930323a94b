"""What comes up many times in a piece of work, and is done once at the end of it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from twisted.logger import Logger


class Gathering:
    """The end of the piece of work in hand: ``with`` it, `add` puts calls off until the block ends.

    Blocks do not nest: the end of an inner one makes all calls, and ends the outer one, so nothing
    waits for longer than the innermost. If a call fails, that is logged, and the others are made.
    """

    _log = Logger()

    def __init__(self) -> None:
        #: Whether there is a piece of work in hand.
        self.open = False
        self._calls: list[Callable[[], None]] = []

    def add(self, call: Callable[[], None]) -> None:
        """Make ``call`` at the end; only while `open`."""
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
