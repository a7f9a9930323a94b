"""Writes to one client, and knows whether it drains.

Two kinds of writing: what answers the client (`Outlet.write`) is always taken, and bounded by no
longer reading from a client that does not read; messages (`Outlet.offer`) are refused while the
transport holds anything back, because a cursor can always read them again.

On plain TCP a write goes straight to the socket. Handing it to the transport would cost four times
as much: an entry in its buffer, a turn of the reactor, and two changes to the poll set.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from chatd.net.tcp import unsent

#: Bytes of answers held for a client that does not read before it is no longer read from.
HELD = 32 * 1024


@implementer(IPushProducer, IPullProducer)
class Outlet:
    """The sending side of ``transport``. ``drained`` is called whenever it drains again."""

    def __init__(self, transport: Any, drained: Callable[[], None]) -> None:
        self._transport = transport
        self._drained = drained
        self._held = 0
        self._not_reading = 0
        self._closed = False
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
            if before <= HELD < self._held:
                self.stop_reading()

    def offer(self, data: bytes) -> bool:
        """Write messages, unless the transport still holds something: then False, and nothing of
        ``data`` is written."""
        if not self.draining or self._closed:
            return False
        self._send(data)
        return True

    def stop_reading(self) -> None:
        """Take nothing more from the client until as many `start_reading` have been called."""
        self._not_reading += 1
        if self._not_reading == 1:
            self._transport.pauseProducing()

    def start_reading(self) -> None:
        """Undo one `stop_reading`."""
        self._not_reading -= 1
        if self._not_reading == 0 and not self._closed:
            self._transport.resumeProducing()

    def close(self) -> None:
        """Write nothing more."""
        self._closed = True

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
        self._transport.write(data)

    # -- producer --------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self.draining = False

    def resumeProducing(self) -> None:
        if self._closed or self.draining or (self._socket is not None and unsent(self._transport)):
            return
        self.draining = True
        held, self._held = self._held, 0
        if held > HELD:
            self.start_reading()
        self._drained()

    def stopProducing(self) -> None:
        self.close()
