"""When clients should come back: each at its own time, so that they do not all come at once."""

from __future__ import annotations

from random import randrange

#: Milliseconds over which the clients of a node that drains, or of a network that was away, spread.
COME_BACK = 5000


def come_back(seconds: int | None = None) -> int:
    """Milliseconds after which one client should come back: ``seconds`` at least, and up to
    `COME_BACK` more, by chance."""
    return 1000 * (seconds or 0) + randrange(COME_BACK // 20, COME_BACK)
