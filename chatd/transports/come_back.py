"""When clients should reconnect: spread over time, so that they do not all come at once."""

from __future__ import annotations

from random import randrange

#: Milliseconds over which the clients of a node that drains, or of a network that was away, spread.
COME_BACK = 5000
#: The same at least, where other nodes can take the clients at once; and how many clients a node
#: takes in a millisecond. A handshake costs it 0.4 ms.
AT_ONCE = 500
TAKEN = 1


def spread(clients: int, others: int) -> int:
    """Milliseconds over which ``clients`` that are sent away should spread. ``others`` is how many
    nodes can take them; without one they wait for this node to start again."""
    return max(AT_ONCE, min(COME_BACK, clients // (TAKEN * others))) if others else COME_BACK


def come_back(seconds: int | None = None, within: int = COME_BACK) -> int:
    """Milliseconds after which one client should come back: ``seconds`` at least, and up to
    ``within`` milliseconds more, by chance."""
    return 1000 * (seconds or 0) + randrange(within // 20, within)
