"""Reading the newest records of a stream: AMQP can start at an offset or at the last chunk only."""

from __future__ import annotations

from chatd.amqp.deliveries import Delivery
from chatd.brokers.rabbitmq.records import is_fence


class Tail:
    """The newest ``wanted`` records, gathered from the end backwards in few steps.

    Offsets skip, and fences are no records, so a step may bring fewer records than offsets. Each
    step goes back twice as far as the one before, for all is read anew in each.
    """

    def __init__(self, wanted: int) -> None:
        self.gathered: list[Delivery] = []
        self._wanted = wanted
        self._start = -1
        self._lowest = -1
        #: One past the end, when it was first seen; the offsets before it that are gathered next.
        self._end = -1
        self._span = wanted * 9 // 8 + 64

    def next_start(self) -> int | None:
        """The offset to gather from next; None if there are enough records, or no more."""
        lowest, end = self.gathered[0].offset, self.gathered[-1].offset
        had = sum(not is_fence(one) for one in self.gathered)
        if had >= self._wanted or lowest in (0, self._lowest) or self._start == 0:
            return None
        self._lowest = lowest
        if self._start < 0:
            self._end = end + 1
        self._start = max(0, self._end - self._span)
        self._span *= 2
        self.gathered = []
        return self._start
