"""Token buckets. They need no timers: a bucket is filled when it is looked at."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable

from attrs import define, field, frozen

from chatd.access.limits import network_of
from chatd.protocol.errors import ChatError, Code

#: Bad requests in a row after which the connection is closed.
BAD_IN_A_ROW = 10


@frozen
class Rate:
    """``per_second`` of ``what``, and a ``burst`` of twice as many unless one is given, but at
    least one."""

    per_second: float
    burst: float = field()
    what: str = "messages"

    @burst.default
    def _twice(self) -> float:
        return max(1.0, 2 * self.per_second)

    def bucket(self) -> Bucket:
        """A full bucket of this rate."""
        return Bucket(self)

    def refusal(self, wait: float) -> ChatError:
        """The error for a caller over the rate, who may come back in ``wait`` seconds."""
        hundredths = math.ceil(wait * 100)  # whoever waits as long as that is not refused again
        return ChatError(
            Code.RATE_LIMITED,
            f"At most {self.per_second:g} {self.what} a second; wait {hundredths / 100:.2f} s.",
            retry=max(1, math.ceil(wait)),
        )


def too_fast() -> ChatError:
    """The error for a client that was over its allowance for too long."""
    return ChatError(Code.RATE_LIMITED, "Too many requests; come back later.", retry=1)


@define(eq=False)
class Bucket:
    """A token bucket that fills when it is looked at."""

    rate: Rate
    _level: float = field(init=False)
    _looked: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self._level = self.rate.burst

    def wait(self, now: float) -> float:
        """The seconds until there is a token, 0.0 if there is one; none is taken.

        ``now`` is any clock in seconds. A clock set back adds nothing and takes nothing.
        """
        if now > self._looked:
            level = self._level + (now - self._looked) * self.rate.per_second
            self._level = level if level < self.rate.burst else self.rate.burst
        self._looked = now
        return 0.0 if self._level >= 1.0 else (1.0 - self._level) / self.rate.per_second

    def take(self, now: float) -> float:
        """Take one token; 0.0 if there was one, else the seconds until there will be."""
        wait = self.wait(now)
        if not wait:
            self._level -= 1.0
        return wait

    def spend(self, tokens: float) -> None:
        """Take ``tokens``, even if there are fewer: the next ones then take longer to come."""
        self._level -= tokens

    def check(self, now: float) -> None:
        """Take one token, or raise `ChatError` rate_limited with the seconds until there is one."""
        wait = self.take(now)
        if wait > 0.0:
            raise self.rate.refusal(wait)


@define(eq=False)
class Buckets:
    """A bucket for each key, such as (user, address), for callers without a connection of their
    own.

    A bucket that is full again says nothing and is dropped. At most ``limit`` others are kept; the
    least recently used one is dropped first, so memory is bounded.
    """

    rate: Rate
    limit: int = 100_000
    _buckets: OrderedDict[Hashable, tuple[Bucket, float]] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, now: float) -> float:
        """As `Bucket.take`, for the bucket of ``key``."""
        return self._of(key, now).take(now)

    def check(self, key: Hashable, now: float) -> None:
        """As `Bucket.check`, for the bucket of ``key``."""
        self._of(key, now).check(now)

    def wait(self, key: Hashable, now: float) -> float:
        """As `Bucket.wait`, for the bucket of ``key``."""
        return self._of(key, now).wait(now)

    def _of(self, key: Hashable, now: float) -> Bucket:
        self._drop_full(now)
        bucket, _ = self._buckets.get(key) or (self.rate.bucket(), now)
        self._buckets[key] = (bucket, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self.limit:
            self._buckets.popitem(last=False)
        return bucket

    def _drop_full(self, now: float) -> None:
        # Two at most each time: as many as come in are let go, and no call pays for all of them.
        until = now - self.rate.burst / self.rate.per_second
        for _ in range(2):
            oldest = next(iter(self._buckets.items()), None)
            if oldest is None or oldest[1][1] > until:
                return
            del self._buckets[oldest[0]]


#: Wrong keys and secrets that one address may show.
GUESSES = Rate(1, burst=40, what="wrong keys")


@define(eq=False)
class Guesses:
    """Slows down guessing of keys and secrets, by address. Only wrong ones count."""

    _wrong: Buckets = field(factory=lambda: Buckets(GUESSES), init=False)

    def check(self, address: str, now: float) -> None:
        """Raise `ChatError` rate_limited if there were too many wrong ones from ``address``."""
        wait = self._wrong.wait(network_of(address), now)
        if wait > 0.0:
            raise GUESSES.refusal(wait)

    def wrong(self, address: str, now: float) -> None:
        """Count a wrong one from ``address``."""
        self._wrong.take(network_of(address), now)
