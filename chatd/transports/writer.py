"""The sending side of a connection, with backpressure.

There are two ways to write. An answer (`Writer.write`) is always accepted; if the client does not
read its answers, chatd stops reading its requests. Answers of one `Gathering` leave in one write. A
batch of messages (`Writer.offer`) is refused while the transport still holds unsent bytes; the
subscription reads it again later.

On plain TCP a write goes straight to the socket. ``transport.write`` would cost four times as much:
an entry in a buffer, a turn of the reactor, and two changes to the poll set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from chatd.access.budget import Unread
from chatd.net.tcp import forget_unsent, unsent
from chatd.timing.gathering import Gathering
from chatd.timing.nothing import nothing

#: Bytes of unsent answers above which chatd stops reading from the client.
HELD = 32 * 1024
#: Bytes that a TLS transport has buffered when it pauses its producer.
BUFFER = 64 * 1024


@implementer(IPushProducer, IPullProducer)
class Writer:
    """Writes to ``transport``.

    ``on_writable`` is called when the transport becomes `writable` again, ``on_blocked`` when its
    socket takes no more, ``resumed`` when reading from the client resumes. ``unread`` is the node's
    budget for bytes that clients have not read, ``answers`` is what gathers its answers.
    """

    def __init__(
        self,
        transport: Any,
        on_writable: Callable[[], None],
        on_blocked: Callable[[], None],
        resumed: Callable[[], None],
        unread: Unread,
        answers: Gathering,
    ) -> None:
        self._transport = transport
        self._on_writable = on_writable
        self._on_blocked = on_blocked
        self._resumed = resumed
        self._unread = unread
        self._answers = answers
        #: Answers that wait for the end of what `answers` gathers.
        self._gathered = b""
        self._waiting: deque[Deferred[None]] = deque()
        self._held = 0
        #: How many callers of `stop_reading` have not called `start_reading` yet.
        self.stops = 0
        #: How often reading from the client has stopped or resumed.
        self.switches = 0
        #: Unsent bytes of the last write that the socket took in part.
        self._rest = 0
        self._closed = self._lost = False
        direct = isinstance(transport, tcp.Connection) and not transport.TLS
        self._direct: Callable[[bytes], int] | None = transport.socket.send if direct else None
        #: Whether the transport has nothing left to send. An earlier answer on the same connection
        #: may still be waiting.
        self.writable = not direct or not unsent(transport)
        # A plain transport calls a pull producer each time its buffer is empty. A TLS transport
        # would call one in an endless loop, but pauses a push producer when its buffer is full.
        transport.registerProducer(self, not direct)

    def write(self, data: bytes) -> None:
        """Write an answer, after everything written before it."""
        if self._closed:
            return
        if self._answers.open:
            if not self._gathered:
                self._answers.add(self._flush)
            self._gathered += data
        else:
            self._write(data)

    def _flush(self) -> None:
        """Write the answers that were gathered."""
        gathered, self._gathered = self._gathered, b""
        if gathered and not self._closed:
            self._write(gathered)

    def _write(self, data: bytes) -> None:
        if self.writable:
            self._send(data)
        else:
            self._transport.write(data)
            before, self._held = self._held, self._held + len(data)
            self._unread.hold(self._transport, self._rest + self._held)
            if before <= HELD < self._held:
                self.stop_reading()

    async def ready(self) -> bool:
        """Wait until the transport is `writable`, before an answer that is too large to buffer many
        of; False if nothing can be written any more. Waiters resume one at a time, each once the
        last one's answer is sent; all of them when the connection ends. Meanwhile the client is not
        read from: a request that waits costs as much memory as many small answers."""
        if self.writable or self._closed:
            return not self._closed
        self.stop_reading()
        try:
            while not self.writable and not self._closed:
                waiter: Deferred[None] = Deferred()
                self._waiting.append(waiter)
                await waiter
        finally:
            self.start_reading()
        return not self._closed

    def offer(self, data: bytes) -> bool:
        """Write messages if the transport is `writable`; otherwise return False and write
        nothing."""
        self._flush()
        if not self.writable or self._closed:
            return False
        self._send(data)
        return True

    @property
    def send(self) -> Callable[[bytes], int] | None:
        """The socket's own ``send``, for writing to many clients in one loop; None while not
        `writable`, after `close`, and over TLS. Pass what it does not take to `keep`."""
        return self._direct if self.writable and not self._closed else None

    def notify(self, data: bytes) -> bool:
        """As `offer`, for events that are shown now or never."""
        return self.offer(data)

    def stop_reading(self) -> None:
        """Stop reading from the client until `start_reading` was called as often as this."""
        self.stops += 1
        if self.stops == 1:
            self.switches += 1
            self._transport.pauseProducing()

    def start_reading(self) -> None:
        """Undo one call of `stop_reading`."""
        self.stops -= 1
        if self.stops == 0 and not self._lost:
            self.switches += 1
            self._transport.resumeProducing()
            if not self._closed:
                self._resumed()

    def close(self) -> None:
        """Ignore all further writes, and let `ready` return. Who left answers unread is read from
        again: the answer to the close may come."""
        self._flush()
        self._closed = True
        self._let_go()
        self._forget_held()

    def lost(self) -> None:
        """To be called from ``connectionLost``."""
        self._lost = True
        self._gathered = b""
        self._unread.release(self._transport)
        self.close()
        self._on_writable = self._on_blocked = self._resumed = nothing
        forget_unsent(self._transport)

    def _forget_held(self) -> None:
        """The answers that were held are sent, or stand in nobody's way any more."""
        held, self._held = self._held, 0
        if held > HELD:
            self.start_reading()

    def _let_go(self) -> None:
        while self._waiting and (self.writable or self._closed):
            self._waiting.popleft().callback(None)

    def _send(self, data: bytes) -> None:
        if self._direct is None:
            self._transport.write(data)
            return
        try:
            sent = self._direct(data)
        except OSError:
            sent = 0  # full for now; or the reactor meets the same error and ends the connection
        if sent != len(data):
            self.keep(data[sent:])

    def keep(self, rest: bytes) -> None:
        """Write ``rest``, which the socket did not take, when it takes more."""
        self.writable = False
        self._rest = len(rest)
        self._unread.hold(self._transport, self._rest)
        self._transport.write(rest)
        self._on_blocked()

    # -- producer --------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self.writable = False
        self._rest = BUFFER
        self._unread.hold(self._transport, BUFFER)

    def resumeProducing(self) -> None:
        if self._closed or self.writable or (self._direct and unsent(self._transport)):
            return
        self.writable = True
        self._rest = 0
        self._unread.release(self._transport)
        self._forget_held()
        self._let_go()
        if self.writable:
            self._on_writable()

    def stopProducing(self) -> None:
        self.close()
