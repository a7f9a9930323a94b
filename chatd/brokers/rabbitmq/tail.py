"""Reading the newest records of a stream: AMQP can start at an offset or at the last chunk only."""

from __future__ import annotations

from chatd.amqp.deliveries import Delivery
from chatd.brokers.rabbitmq.records import is_fence


class Tail:
    """The newest ``wanted`` records, gathered from the end backwards in few steps.

    Offsets skip, so a step may bring fewer records than offsets.
    """

    def __init__(self, wanted: int) -> None:
        self.gathered: list[Delivery] = []
        self._wanted = wanted
        self._start = -1
        self._lowest = -1

    def next_start(self) -> int | None:
        """The offset to gather from next; None if there are enough records, or no more."""
        lowest, end = self.gathered[0].offset, self.gathered[-1].offset
        had = sum(1 for one in self.gathered if one.body or not is_fence(one))
        if had >= self._wanted or lowest in (0, self._lowest) or self._start == 0:
            return None
        self._lowest = lowest
        before = end + 1 if self._start < 0 else self._start
        self._start = max(0, before - self._wanted * 9 // 8 - 64)
        self.gathered = []
        return self._start
