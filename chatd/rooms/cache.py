"""The newest messages of each room, in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

from chatd.protocol.messages import Message, by_offset

#: Messages and bytes kept for one room; older messages are read from the broker.
RECENT_MESSAGES = 512
RECENT_BYTES = 512 * 1024
#: When some have to go, one in so many goes with them, so that there is space for the next ones.
ALSO = 16

#: Milliseconds.
MINUTE = 60_000

#: Bytes kept for all rooms of a node together.
RECENT_TOTAL = 64 * 1024 * 1024


def weight(message: Message) -> int:
    """About the bytes of memory that ``message`` takes: JSON, the text again, and objects."""
    return 2 * len(message.json) + 500


class RecentMessages:
    """A room's newest messages, oldest first: all that lie after the offset ``floor``."""

    def __init__(self, budget: CacheBudget, limit: int = RECENT_BYTES) -> None:
        self.floor = -1
        self.size = 0
        #: The newest time of a message that is not here any more: times need not ascend.
        self._newest_dropped = 0
        self._limit = min(limit, RECENT_BYTES)
        # no deque: an empty one takes 700 bytes, in each quiet room
        self._messages: list[Message] = []
        self._budget = budget

    def __len__(self) -> int:
        return len(self._messages)

    def extend(self, messages: Sequence[Message]) -> None:
        """Append ``messages``, the next of the stream."""
        added = sum(map(weight, messages))
        self._messages.extend(messages)
        self.size += added
        if len(self._messages) > RECENT_MESSAGES or self.size > self._limit:
            added -= self._drop(self._excess())
        self._budget.charge(self, added)

    def _excess(self) -> int:
        """How many to drop now that there are too many."""
        excess = max(0, len(self._messages) - RECENT_MESSAGES)
        left = self.size - sum(map(weight, self._messages[:excess]))
        while left > self._limit:
            left -= weight(self._messages[excess])
            excess += 1
        return excess + (len(self._messages) - excess) // ALSO

    def after(
        self, offset: int, oldest: int, limit: int, size: int = RECENT_BYTES
    ) -> Sequence[Message] | None:
        """Up to ``limit`` messages after ``offset``, and no further one once they have ``size``
        bytes; None if some of the room's messages after ``offset`` are not cached, or the first one
        has expired.

        Messages from before the time ``oldest`` (milliseconds) have expired. Times need not ascend,
        for other programs set their own; what lies after a gap of expired ones is not taken.
        """
        self.expire(oldest)
        if offset < self.floor:
            return None
        taken: list[Message] = []
        start = bisect_right(self._messages, offset, key=by_offset)
        for message in self._messages[start : start + limit]:
            if size <= 0:
                break
            if message.expired(oldest):
                return taken or None
            taken.append(message)
            size -= len(message.json)
        return taken

    def earlier(
        self, before: int, oldest: int, limit: int, size: int
    ) -> tuple[Sequence[Message], bool] | None:
        """The newest messages before the offset ``before``, in order, bounded as in `after`; and
        whether there are older ones. None if some of them are not cached, or have expired."""
        self.expire(oldest)
        taken: list[Message] = []
        for message in reversed(self._messages):
            if message.offset >= before:
                continue
            if message.expired(oldest):
                return None
            if len(taken) == limit or size <= 0:
                return taken[::-1], True
            taken.append(message)
            size -= len(message.json)
        return (taken[::-1], False) if self.floor < 0 else None

    def before_last(self, n: int, oldest: int) -> int | None:
        """The offset after which exactly the ``n`` newest messages lie; None if some of them are
        not cached."""
        self.expire(oldest)
        if len(self._messages) > n:
            return self._messages[-n - 1].offset
        return self.floor if len(self._messages) == n or self.floor < 0 else None

    def before_time(self, time: int, oldest: int) -> int | None:
        """The offset after which the first message at or after ``time`` lies; None if it may not be
        cached."""
        self.expire(oldest)
        if self.floor >= 0 and time <= self._newest_dropped:
            return None  # the clock was set back since
        before = self.floor
        for i, message in enumerate(self._messages):
            if message.time >= time:
                return before if i or self.floor < 0 else None
            before = message.offset
        return before if self._messages or self.floor < 0 else None

    def rate(self, now: int) -> float:
        """About how many messages a minute came lately; ``now`` is in milliseconds."""
        count = 0
        for message in reversed(self._messages):
            if message.time < now - MINUTE:
                return count
            count += 1
        if count and self.floor >= 0:  # the minute's first messages may not be cached any more
            return count * MINUTE / max(1, min(MINUTE, now - self._messages[0].time))
        return count

    @property
    def newest(self) -> Message | None:
        """The newest message, if it is cached."""
        return self._messages[-1] if self._messages else None

    def expire(self, oldest: int) -> None:
        """Drop messages from before ``oldest`` (milliseconds)."""
        fresh = (i for i, message in enumerate(self._messages) if not message.expired(oldest))
        expired = next(fresh, len(self._messages))
        if expired:
            self._budget.charge(self, -self._drop(expired))

    def clear(self, floor: int, newest: int = 0) -> None:
        """Drop everything; what `extend` adds next lies after the offset ``floor``. ``newest`` is
        the newest time (milliseconds) of the messages up to there, as far as it is known."""
        freed, self.size = self.size, 0
        self._messages.clear()
        self.floor = floor
        self._newest_dropped = newest
        self._budget.charge(self, -freed)  # last: it keeps what has a size

    def forget(self) -> int:
        """For the budget: drop everything and stay usable, for later readers go to the broker.
        Returns how much it weighed."""
        return self._drop(len(self._messages))

    def _drop(self, count: int) -> int:
        """Drop the ``count`` oldest; how much they weighed."""
        if not count:
            return 0
        self.floor = self._messages[count - 1].offset
        newest = max(message.time for message in self._messages[:count])
        self._newest_dropped = max(self._newest_dropped, newest)
        dropped = sum(map(weight, self._messages[:count]))
        self.size -= dropped
        del self._messages[:count]
        return dropped


class CacheBudget:
    """Bounds the memory of all rooms' caches together; the least recently used is emptied first."""

    def __init__(self, limit: int = RECENT_TOTAL) -> None:
        self.used = 0
        self._limit = limit
        self._rooms: OrderedDict[RecentMessages, None] = OrderedDict()

    def charge(self, recent: RecentMessages, change: int) -> None:
        """Note that ``recent`` was used, and has grown by ``change`` bytes."""
        self.used += change
        if recent.size:
            self._rooms[recent] = None
            self._rooms.move_to_end(recent)
        else:
            self._rooms.pop(recent, None)
        while self.used > self._limit and len(self._rooms) > 1:
            quiet, _ = self._rooms.popitem(last=False)
            self.used -= quiet.forget()
