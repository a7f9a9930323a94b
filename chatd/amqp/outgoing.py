"""The sending side of a connection: straight to its socket, and publishes that come close together
in one write.

``transport.write`` costs an entry in a buffer, a turn of the reactor, and two changes to the poll
set. But what is written in the same turn leaves together, so that RabbitMQ stores, confirms and
delivers it together, which saves more than that where many publish.

A process that is stopped has most times some that wait. When it goes on, whoever published them may
have done so again elsewhere, so they are not sent then, and nothing after them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Bytes of publishes that wait for the next write, at most.
GATHERED = 64 * 1024
#: Seconds after which they are not sent any more. No turn of the reactor takes as long.
HELD_UP = 3.0


class Outgoing:
    """Writes to a transport, once `begin` was called with it; in the order of the calls.
    ``held_up`` is called where publishes have waited for too long; it is to end the connection."""

    def __init__(self, clock: IReactorTime, held_up: Callable[[], object]) -> None:
        self._clock = clock
        self._held_up = held_up
        self._transport: Any = None
        self._direct: Callable[[bytes], int] | None = None
        #: Publishes that wait, since when (the clock's seconds), and how many bytes they are.
        self._gathered: list[bytes] = []
        self._since = 0.0
        self._size = 0
        self._timer: IDelayedCall | None = None

    def begin(self, transport: Any) -> None:
        """Write to ``transport``."""
        self._transport = transport
        if isinstance(transport, tcp.Connection) and not transport.TLS:
            self._direct = transport.socket.send

    def write(self, data: bytes) -> None:
        """Write ``data`` now, after all that waits."""
        if self._gathered:
            self._gathered.append(data)
            self._leave()
        else:
            self._write(data)

    def gather(self, data: bytes) -> None:
        """Write ``data`` at the end of this turn of the reactor, with what comes until then."""
        if self._timer is None:
            self._timer = self._clock.callLater(0, self._due)
        if not self._gathered:
            self._since = self._clock.seconds()
        self._gathered.append(data)
        self._size += len(data)
        if self._size > GATHERED:
            self._leave()

    def _due(self) -> None:
        self._timer = None
        if self._gathered:
            self._leave()

    def _leave(self) -> None:
        gathered, self._gathered, self._size = self._gathered, [], 0
        if self._clock.seconds() - self._since > HELD_UP:
            self._held_up()
            return
        self._write(b"".join(gathered))

    def _write(self, data: bytes) -> None:
        transport = self._transport
        # as long as it has unsent bytes they come first
        if self._direct is not None and not (
            transport._tempDataBuffer or len(transport.dataBuffer) > transport.offset
        ):
            try:
                sent = self._direct(data)
            except OSError:
                sent = 0  # full for now; or the reactor meets the same error
            if sent == len(data):
                return
            data = data[sent:]
        transport.write(data)

    def end(self) -> None:
        """The connection is over: what waits is not written."""
        self._gathered = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
