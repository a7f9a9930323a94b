"""The clock of one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class NodeClock:
    """A view of ``clock`` whose delayed calls are all cancelled when the node stops."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.seconds = clock.seconds  # type: ignore[method-assign]  # read often: one call, not two
        self._calls: list[IDelayedCall] = []
        self._sweep_at = 100
        self._stopped = False

    def seconds(self) -> float:
        return self._clock.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object
    ) -> IDelayedCall:
        call = self._clock.callLater(delay, callable, *args, **kwargs)
        if self._stopped:
            call.cancel()
            return call
        self._calls.append(call)
        if len(self._calls) > self._sweep_at:
            self._calls = self.getDelayedCalls()
            self._sweep_at = 100 + 2 * len(self._calls)
        return call

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return [call for call in self._calls if call.active()]

    def stop(self) -> None:
        """Cancel all delayed calls, and each that is made from now on."""
        self._stopped = True
        for call in self.getDelayedCalls():
            call.cancel()
