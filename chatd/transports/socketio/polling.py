"""HTTP long-polling as the transport of a session (Engine.IO 4, "HTTP long-polling")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from chatd.net.tcp import LINGER
from chatd.protocol.errors import ChatError
from chatd.timing.timer_wheel import Deadline
from chatd.transports.dialect import ClientLink, Serving
from chatd.transports.encodings import text_frame
from chatd.transports.socketio.engine_packets import BadPacket, EngineKind, EnginePacket
from chatd.transports.socketio.faults import BAD_REQUEST, UNKNOWN_SID, EngineFault
from chatd.transports.socketio.poll_outlet import FULL, PollOutlet
from chatd.transports.socketio.session import EngineSession
from chatd.transports.socketio.timestamps import Timestamps
from chatd.transports.websocket.connection import UNDER_WAY
from chatd.transports.websocket.heartbeat import PING_EVERY, PONG_WITHIN

_CLOSE, _NOOP = (text_frame(kind.value) for kind in (EngineKind.CLOSE, EngineKind.NOOP))
#: The payload that ends a session.
_LAST = EngineKind.CLOSE.value

#: Bytes of answers held for one client in an upgrade: as many as for any one that does not read.
HELD = 256 * 1024

Packets = Sequence[EnginePacket]


class PollingState(Enum):
    """The state of a session that polls."""

    OPEN = auto()
    #: It has ended; its last packets wait for a poll.
    LEAVING = auto()
    #: It has ended, or was upgraded to WebSocket.
    GONE = auto()


class PollingLink:
    """The polls and posts of one session that began from ``address`` with a ``timestamp``, if it
    had one. ``release`` gives back its place among the open connections; that also happens when the
    client does not answer pings, which it receives by polling."""

    session: EngineSession
    outlet: PollOutlet

    def __init__(
        self,
        factory: Serving,
        address: str,
        release: Callable[[], None],
        timestamp: str | None,
    ) -> None:
        self.factory = factory
        self._address = address
        self._timestamps = Timestamps(timestamp)
        admission = factory.admission
        self.outlet = PollOutlet(admission.clock, admission.unread, self, self._on_writable)
        self.state = PollingState.OPEN
        self._deadlines = admission.deadlines
        #: None once it has ended.
        self._release: Callable[[], None] | None = release
        self._due: Deadline = self._deadlines.after(PING_EVERY, self._beat)
        self._under_way = 0
        #: Fires when the last request that was under way at an upgrade has been answered.
        self._rest: Deferred[None] | None = None
        self._posting = False
        self._probed = False
        #: Milliseconds after which the client shall come back, once the node drains.
        self._retry: int | None = None
        self._connections: Any = factory.metrics.connections.labels("socketio_polling")
        self._connections.inc()

    @property
    def goes_on(self) -> bool:
        """Whether the session is open and polls."""
        return self.state is PollingState.OPEN

    # -- the client's requests ---------------------------------------------------------------------

    def check_new(self, method: str, timestamp: str | None) -> None:
        """A request that was made before ends the session and raises `EngineFault`: its client,
        which has not seen the answer, comes back with its cursor."""
        if self._timestamps.repeats(method, timestamp):
            self.end()
            raise EngineFault(BAD_REQUEST)

    async def poll(self) -> bytes:
        """The next payload. A second poll at the same time ends the session and raises
        `EngineFault`."""
        if self.outlet.polled:
            self.end()
            raise EngineFault(BAD_REQUEST)
        if self.state is PollingState.LEAVING and not self.outlet.size:
            self.end()
            if self._retry is not None:
                # as another node would say: clients of python-engineio stay away after a close
                raise EngineFault(UNKNOWN_SID)
            return _LAST
        polling = self.outlet.poll()
        self._hurry()
        try:
            payload = await polling
        except CancelledError:
            self.end()
            raise
        if payload == _LAST:
            self.end()
        return payload

    async def post(
        self, packets: Callable[[], Awaitable[Packets]], turn: Callable[[], Awaitable[None]]
    ) -> None:
        """Handle what ``packets`` returns, each packet in its ``turn``, pausing while the client
        leaves answers unread or has too many requests under way, but not in an upgrade. A second
        post at the same time and invalid packets raise `EngineFault`; any failure ends the
        session."""
        if self._posting:
            self.end()
            raise EngineFault(BAD_REQUEST)
        self._posting = True
        try:
            await self._take(await packets(), turn)
        except BadPacket:
            self.end()
            raise EngineFault(BAD_REQUEST) from None
        except BaseException:
            self.lose()  # else its client, which has lost packets, would seem to be there
            raise
        finally:
            self._posting = False
            self._let_go()

    async def _take(self, packets: Packets, turn: Callable[[], Awaitable[None]]) -> None:
        for packet in packets:
            await turn()
            await self.outlet.until(self._takes_more)
            if self.state is PollingState.GONE:
                raise EngineFault(UNKNOWN_SID)
            if self.state is PollingState.LEAVING:
                return  # the next poll tells the reason
            self.session.take(packet)
            if packet.kind is EngineKind.CLOSE:
                return

    def _takes_more(self) -> bool:
        if self._probed:  # it polls no more, and waits for its post before it says so
            return self.outlet.size < HELD
        return self.outlet.size < FULL and self._under_way < UNDER_WAY

    def check_probe(self) -> None:
        """Raise `EngineFault` unless a WebSocket may take the session over."""
        if not self.goes_on or self.session.probe is not None:
            raise EngineFault(BAD_REQUEST)

    # -- an upgrade --------------------------------------------------------------------------------

    def probed(self, probed: bool = True) -> None:
        """Whether a WebSocket is about to take the session over. Meanwhile polls and posts are
        answered at once, so that the client can complete the upgrade."""
        self._probed = probed
        self.outlet.wake()
        self._hurry()

    def _hurry(self) -> None:
        if self._probed and self.outlet.polled and not self.outlet.size:
            self.outlet.write(_NOOP)

    def hand_over(self, carrier: ClientLink) -> None:
        """The session continues on ``carrier``: what is held here is sent there first, and what is
        under way is answered there, so that it counts as under way there."""
        if held := self.outlet.take():
            carrier.outlet.write(held)
        if self._under_way:
            self._rest = Deferred()
            carrier.work(self._rest)
        self._end(_NOOP, goes_on=True)

    # -- Carrier -----------------------------------------------------------------------------------

    def work(self, doing: Deferred[None]) -> None:
        """See `chatd.transports.dialect.ClientLink`."""
        if not doing.called:
            self._under_way += 1
            doing.addBoth(self._done)

    def _done(self, result: Any) -> Any:
        self._under_way -= 1
        self.outlet.wake()
        if not self._under_way and self._retry is not None:
            self.drain(self._retry)
        if not self._under_way and self._rest is not None:
            self._rest.callback(None)
        self._let_go()
        return result

    def note(self, error: ChatError) -> None:
        """See `chatd.transports.dialect.ClientLink`."""
        refusals, user = self.factory.metrics.refusals, self.session.talk.identity.user
        refusals.add(error.code.word, self._address, "SOCKET.IO by polls", error.text, user)

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        """See `chatd.transports.dialect.ClientLink`. The last poll is told nothing else: clients
        handle a close at once, but packets before it in the same payload only afterwards, when
        they are connected no more (socket.io-client's ``nextTick``)."""
        if self.goes_on:
            self.state = PollingState.LEAVING
            if not self.outlet.size:
                self.outlet.write(_CLOSE)
            self.outlet.close()
            self._due.cancel()
            self._due = self._deadlines.after(LINGER, self.end)
            self.session.closed()

    def pong(self) -> None:
        """See `chatd.transports.socketio.session.Carrier`."""
        self._due.cancel()
        self._due = self._deadlines.after(PING_EVERY, self._beat)

    def client_closes(self) -> None:
        """See `chatd.transports.socketio.session.Carrier`."""
        self._end(_NOOP)

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self._under_way > 0

    def drain(self, retry: int) -> None:
        """Send the client away once what is under way was answered: by its next poll, if none waits
        for an answer now."""
        self._retry = retry
        if not self._under_way and self.goes_on:
            self.session.talk.drain(retry)
            self.sendClose()

    # -- its end -----------------------------------------------------------------------------------

    def _on_writable(self) -> None:
        self.session.talk.writable()

    def _beat(self) -> None:
        self._due = self._deadlines.after(PONG_WITHIN, self._missed)
        self.outlet.ping(EngineKind.PING.value)

    def _missed(self) -> None:
        if self._due.stood_still:
            self._beat()  # the answer may have come, and wait to be read
        else:
            self.end()

    def abortConnection(self) -> None:
        """See `chatd.access.budget.Transport`."""
        # in a turn of its own, as TCP's does: whoever writes has not finished yet
        self.outlet.clock.callLater(0, self.lose)

    def end(self) -> None:
        """End the session, if it has not ended, for what its client did. A poll that waits is told
        that it is closed."""
        self._end(_CLOSE)

    def lose(self) -> None:
        """End the session, if it has not ended, for want of room or of packets that were refused. A
        poll that waits is told what any other will be, so that every client begins again: those of
        python-engineio stay away after a close."""
        self._end(None)

    def _end(self, last: bytes | None, goes_on: bool = False) -> None:
        release = self._release
        if release is None or self.state is PollingState.GONE:
            return
        was_open, self.state = self.goes_on, PollingState.GONE
        self._due.cancel()
        if not goes_on:
            self.session.forget()
            if was_open:
                self.session.closed()
        if last is not None:
            self.outlet.write(last)  # unless its last packets are written already
        self.outlet.flush()
        self.outlet.refuse(EngineFault(UNKNOWN_SID))
        self.outlet.close()
        self.outlet.take()
        self._connections.dec()
        release()
        self._release = None
        self._let_go()

    def _let_go(self) -> None:
        """Once it has ended and no request is under way, let go of what refers back to this, so
        that its memory is free at once."""
        if self._release is not None or self._under_way or self._posting:
            return
        if self.session.carrier is self:
            self.session.let_go()  # it does not go on elsewhere
        del self.session, self.outlet
