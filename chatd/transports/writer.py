"""Writes to one client, and knows whether it drains.

Two kinds of writing: what answers the client (`Writer.write`) is always taken, and bounded by no
longer reading from a client that does not read; messages (`Writer.offer`) are refused while the
transport holds anything back, because a cursor can always read them again.

On plain TCP a write goes straight to the socket. Handing it to the transport would cost four times
as much: an entry in its buffer, a turn of the reactor, and two changes to the poll set.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from chatd.access.unread import Unread
from chatd.net.tcp import unsent

#: Bytes of answers held for a client that does not read before it is no longer read from.
HELD = 32 * 1024
#: Bytes a TLS transport holds when it says that it takes no more.
BUFFER = 64 * 1024


@implementer(IPushProducer, IPullProducer)
class Writer:
    """The sending side of ``transport``. ``drained`` is called whenever it drains again, and
    ``resumed`` when the client is read from again; ``unread`` is the budget for what clients do not
    take."""

    def __init__(
        self,
        transport: Any,
        drained: Callable[[], None],
        resumed: Callable[[], None],
        unread: Unread,
    ) -> None:
        self._transport = transport
        self._drained = drained
        self._resumed = resumed
        self._unread = unread
        self._waiting: deque[Deferred[None]] = deque()
        self._held = 0
        #: How many reasons there are not to read from the client.
        self.stops = 0
        #: Bytes of the last thing that was sent in part.
        self._rest = 0
        self._closed = self._lost = False
        direct = isinstance(transport, tcp.Connection) and not transport.TLS
        self._socket: socket.socket | None = transport.socket if direct else None
        # an answer to what was asked before on the same connection may have yet to be sent
        self.draining = not direct or not unsent(transport)
        # Registered as a pull producer, a plain transport tells each time that all is gone. A TLS
        # one would ask without end; it tells a push producer once its own buffer is full.
        transport.registerProducer(self, not direct)

    def write(self, data: bytes) -> None:
        """Write an answer; it is sent after everything written before."""
        if self._closed:
            return
        if self.draining:
            self._send(data)
        else:
            self._transport.write(data)
            before, self._held = self._held, self._held + len(data)
            self._unread.hold(self._transport, self._rest + self._held)
            if before <= HELD < self._held:
                self.stop_reading()

    async def ready(self) -> None:
        """Wait until all that was written is taken; for answers too large to be held many at a
        time. Who waits is let go one by one, and all when the connection ends."""
        while not self.draining and not self._closed:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter

    def offer(self, data: bytes) -> bool:
        """Write messages, unless the transport still holds something: then False, and nothing of
        ``data`` is written."""
        if not self.draining or self._closed:
            return False
        self._send(data)
        return True

    def stop_reading(self) -> None:
        """Take nothing more from the client until as many `start_reading` have been called."""
        self.stops += 1
        if self.stops == 1:
            self._transport.pauseProducing()

    def start_reading(self) -> None:
        """Undo one `stop_reading`."""
        self.stops -= 1
        if self.stops == 0 and not self._lost:
            self._transport.resumeProducing()
            self._resumed()

    def close(self) -> None:
        """Write nothing more."""
        self._closed = True
        self._let_go()

    def lost(self) -> None:
        """The connection is gone."""
        self._lost = True
        self._unread.release(self._transport)
        self.close()

    def _let_go(self) -> None:
        while self._waiting and (self.draining or self._closed):
            self._waiting.popleft().callback(None)

    def _send(self, data: bytes) -> None:
        if self._socket is not None:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the reactor meets the same error and ends the connection
            if sent == len(data):
                return
            data = data[sent:]
            self.draining = False
            self._rest = len(data)
            self._unread.hold(self._transport, self._rest)
        self._transport.write(data)

    # -- producer --------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self.draining = False
        self._rest = BUFFER
        self._unread.hold(self._transport, BUFFER)

    def resumeProducing(self) -> None:
        if self._closed or self.draining or (self._socket is not None and unsent(self._transport)):
            return
        self.draining = True
        self._rest = 0
        self._unread.release(self._transport)
        held, self._held = self._held, 0
        if held > HELD:
            self.start_reading()
        self._let_go()
        if self.draining:
            self._drained()

    def stopProducing(self) -> None:
        self.close()
