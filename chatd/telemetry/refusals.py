"""What was refused lately, for operators: by whom, what, and why. Every refusal is counted, too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from attrs import define
from prometheus_client import Counter

#: Refusals that are remembered; characters of each of their texts.
KEPT, TEXT = 100, 200


@define
class Refusal:
    """What one address was refused with one code: ``count`` times, ``time`` (milliseconds since the
    epoch) being the latest, which ``what`` (such as a method and path), ``user`` ("" for nobody in
    particular) and ``why`` are about."""

    code: str
    address: str
    what: str = ""
    user: str = ""
    why: str = ""
    time: int = 0
    count: int = 0


class Refusals:
    """The refusals of one node. ``counter`` counts them by code; ``now`` is the time of day, in
    milliseconds since the epoch."""

    def __init__(self, counter: Counter, now: Callable[[], int]) -> None:
        self.counter = counter
        self._now = now
        self._recent: OrderedDict[tuple[str, str], Refusal] = OrderedDict()

    def __iter__(self) -> Iterator[Refusal]:
        """The latest first, one for each address and code."""
        return reversed(self._recent.values())

    def add(self, code: str, address: str, what: str, why: str, user: str = "") -> None:
        """``what`` was refused with ``code``, to somebody at ``address``."""
        self.counter.labels(code).inc()
        key = (address, code)
        # one address that is refused again and again drives out nobody else's refusals
        refusal = self._recent.get(key) or Refusal(code, address)
        refusal.what, refusal.why, refusal.user = what[:TEXT], why[:TEXT], user
        refusal.time = self._now()
        refusal.count += 1
        self._recent[key] = refusal
        self._recent.move_to_end(key)
        if len(self._recent) > KEPT:
            self._recent.popitem(last=False)
