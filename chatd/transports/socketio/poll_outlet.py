"""The sending side of a session that polls. Answers are held until the next poll; messages are
accepted only while a poll waits. What is written in one turn of the reactor goes out in one
payload, if that may have so many packets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from chatd.access.budget import Transport, Unread
from chatd.transports.encodings import text_frame, texts
from chatd.transports.socketio.engine_packets import SEPARATOR

#: Bytes in a payload that is full: no more messages are taken for it, and with as many answers held
#: a client's requests are not taken up.
FULL = 32 * 1024
#: Packets in a payload, at most: clients of python-engineio refuse one with more, and begin anew.
PACKETS = 16
#: Bytes held between two polls beyond which events are refused.
EVENTS = 4 * 1024


@define(eq=False)
class PollOutlet:
    """Takes WebSocket text frames, each of which holds a packet. ``on_writable`` is called when
    messages are accepted again; ``owner`` is the connection that the budget ``unread`` may cut."""

    clock: IReactorTime
    unread: Unread
    owner: Transport
    on_writable: Callable[[], None]
    #: There is no socket that the fan-out could send to.
    send: None = field(default=None, init=False)
    _packets: list[bytes] = field(factory=list, init=False)
    size: int = field(default=0, init=False)
    closed: bool = field(default=False, init=False)
    _poll: Deferred[bytes] | None = field(default=None, init=False)
    _flushing: IDelayedCall | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)

    @property
    def polled(self) -> bool:
        """Whether a poll waits for its answer."""
        return self._poll is not None

    @property
    def writable(self) -> bool:
        """Whether messages are accepted."""
        return self._poll is not None and self.size < FULL and not self.closed

    def poll(self) -> Deferred[bytes]:
        """The next payload, at once if something is held. No other poll may be waiting."""
        poll: Deferred[bytes] = Deferred(self._cancelled)
        self._poll = poll
        if self._packets:
            self._flush_soon()
        self.wake()
        if self.writable:
            self.on_writable()
        return poll

    def _cancelled(self, _: Deferred[bytes]) -> None:
        self._poll = None

    def write(self, data: bytes) -> None:
        """See `chatd.transports.dialect.Outlet`."""
        if not self.closed:
            self._add(data)

    def offer(self, data: bytes) -> bool:
        """See `chatd.transports.dialect.Outlet`."""
        if not self.writable:
            return False
        self._add(data)
        return True

    def keep(self, rest: bytes) -> None:
        """See `chatd.transports.dialect.Outlet`."""
        self.write(rest)

    def notify(self, data: bytes) -> bool:
        """See `chatd.transports.dialect.Outlet`. Also accepted while no poll waits, because a
        client polls again at once."""
        if self.closed or self.size >= EVENTS:
            return False
        self._add(data)
        return True

    def ping(self, packet: bytes) -> None:
        """Send ``packet`` ahead of what is held, which may be the contents of many payloads: the
        client has little time to answer it."""
        if not self.closed:
            self._packets.insert(0, packet)
            self._hold(self.size + len(packet))

    def _add(self, data: bytes) -> None:
        packets = texts(data)
        self._packets += packets
        self._hold(self.size + sum(map(len, packets)))

    def _hold(self, size: int) -> None:
        """What is held has ``size`` bytes now."""
        self.size = size
        if not self._packets:
            self.unread.release(self.owner)
            return
        self.unread.hold(self.owner, size)
        if self._poll is not None:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flushing is None:
            self._flushing = self.clock.callLater(0, self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = None
        self.flush()

    def flush(self) -> None:
        """Answer the waiting poll, if there is one and something is held."""
        poll, packets = self._poll, self._packets[:PACKETS]
        if poll is not None and packets:
            self._poll = None
            del self._packets[:PACKETS]
            self._hold(self.size - sum(map(len, packets)))
            poll.callback(SEPARATOR.join(packets))
            self.wake()

    def refuse(self, error: Exception) -> None:
        """Answer the waiting poll, if there is one, with ``error``."""
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.errback(error)

    def take(self) -> bytes:
        """Remove and return all that is held, as WebSocket text frames."""
        packets, self._packets = self._packets, []
        self._hold(0)
        return b"".join(map(text_frame, packets))

    def close(self) -> None:
        """Refuse everything from now on."""
        self.closed = True
        self.wake()

    async def ready(self) -> bool:
        """See `chatd.transports.dialect.Outlet`."""
        await self.until(lambda: self.writable)
        return not self.closed

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until ``condition()`` is true, or the outlet is closed. It is evaluated at each
        poll, at each answer, and by `wake`."""
        while not condition() and not self.closed:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter

    def wake(self) -> None:
        """Evaluate the conditions that are waited for."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)
