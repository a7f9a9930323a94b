"""Server-sent events: ``/rooms/{room}/events`` (HTML standard, section 9.2)."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from chatd.access.identity import Identity
from chatd.access.standing import Held
from chatd.net.tcp import silent, tune
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.protocol.names import room_name
from chatd.rooms.interfaces import IEncoding, ISubscriber
from chatd.rooms.start_position import After, Start
from chatd.service.chat import Chat
from chatd.service.session import Joined, Session
from chatd.telemetry.metrics import Metrics
from chatd.timing.timer_wheel import Deadline
from chatd.timing.turn_queue import in_turns
from chatd.transports.come_back import COME_BACK, come_back, spread
from chatd.transports.encodings import EVENT_STREAM
from chatd.transports.http.call import Call, Reply, Route
from chatd.transports.http.long_poll import while_proved
from chatd.transports.http.parameters import start_of
from chatd.transports.http.request import LimitedRequest as Request
from chatd.transports.http.router import begin
from chatd.transports.http.stream_writer import StreamWriter

EVENTS = "text/event-stream"
#: Seconds between comment lines that keep proxies from closing a quiet stream.
KEEP_ALIVE = 15.0
#: Media types in an Accept that are looked at.
TYPES = 100


def _start(call: Call) -> Start:
    """Where a stream starts. A client that reconnects sends its last id, in the header or, if a
    polyfill cannot set that, in a parameter; it wins over the other parameters."""
    last = call.header("last-event-id") or call.query("lastEventId")
    return After(Cursor.parse(last)) if last else start_of(call)


def _begin(call: Call) -> None:
    """Send the head of a stream, which proxies must not buffer."""
    headers = {"X-Accel-Buffering": "no"}
    begin(call.request, 200, f"{EVENTS}; charset=utf-8", call.admission, headers)


def _event_source(call: Call) -> bool:
    """Whether the client accepts event streams explicitly, as every EventSource does."""
    accepted = (call.header("accept") or "").lower()
    types = accepted.split(",", TYPES)[:TYPES]
    return any(one.partition(";")[0].strip() == EVENTS for one in types)


class EventStreams:
    """The open event streams of a node."""

    def __init__(self, chat: Chat, metrics: Metrics) -> None:
        self._chat = chat
        self._metrics = metrics
        self._open: set[EventStream] = set()
        #: Milliseconds over which those who are sent away come back, and how many have still to be
        #: sent away.
        self._within, self._untold = COME_BACK, 0

    def routes(self) -> list[Route]:
        """The route of this module."""
        return [Route("/rooms/{room}/events", {"GET": self.read}, {"GET": self.refuse_for_now})]

    def refuse_for_now(self, call: Call, error: ChatError) -> Reply | ChatError:
        """The reply to an EventSource that is refused for now: a stream with one event. A browser's
        EventSource would take any status but 200 as final (HTML standard, section 9.2.3). Other
        clients get ``error``.
        """
        if not _event_source(call):
            return error
        body = EVENT_STREAM.refused(come_back(error.retry, self._within), error)
        return Reply(200, body, f"{EVENTS}; charset=utf-8")

    async def read(self, call: Call, room: str) -> Reply | None:
        """GET: the messages after the cursor, and each further one as it comes."""
        identity = call.identify()
        name = room_name(room)
        start = _start(call)
        if call.asks_for_head:
            await self._chat.admit(identity, name)
            _begin(call)
            call.request.finish()
            return None
        release = call.admission.connections.admit(call.caller.address)
        stream = EventStream(call, identity, self._chat)
        try:
            joined = await while_proved(call, identity, stream.session.join(name, stream, start))
            self._chat.check_draining()  # again: the drain may have begun while joining
        except BaseException:
            stream.session.close()
            release()
            raise
        if joined is None or call.gone:
            stream.session.close()
            release()
            return None
        call.request.notifyFinish().addBoth(self._opened(stream, release))
        stream.begin(joined)
        return None

    def _opened(self, stream: EventStream, release: Callable[[], None]) -> Callable[[object], None]:
        """Count ``stream`` as open. Call the returned function when it has ended."""
        gauge = self._metrics.connections.labels("events")
        self._open.add(stream)
        gauge.inc()

        def lost(_: object) -> None:
            self._open.discard(stream)
            gauge.dec()
            stream.lost()
            release()

        return lost

    @property
    def in_hand(self) -> int:
        """How many have still to be sent away: else nothing is done for a stream that could not be
        done for another one later."""
        return self._untold

    @property
    def leaving(self) -> int:
        """How many streams are open."""
        return len(self._open)

    def drain(self, others: int) -> None:
        """End all streams; clients come back by themselves, each at a time of its own."""
        self._within, every = spread(len(self._open), others), list(self._open)
        self._untold += len(every)
        in_turns(self._chat.clock, every, self._send_away)

    def _send_away(self, stream: EventStream) -> None:
        self._untold -= 1
        if stream in self._open:  # it may have gone meanwhile
            stream.go(come_back(within=self._within))


@implementer(ISubscriber)
class EventStream:
    """One event stream, the subscriber of one room."""

    encoding: IEncoding
    _writer: StreamWriter

    def __init__(self, call: Call, identity: Identity, chat: Chat) -> None:
        self.session = Session(chat, identity)
        self._call = call
        self._request: Request = call.request
        self._deadlines = call.admission.deadlines
        self._next_comment: Deadline | None = None
        self._held: Held | None = None

    @property
    def identity(self) -> Identity:
        return self.session.identity

    def begin(self, joined: Joined) -> None:
        """Send the head and the opening block, and let messages flow."""
        _begin(self._call)
        tune(self._request.channel.transport)
        self._request.write(EVENT_STREAM.opening(come_back(), joined.cursor))
        session = self.session
        self._writer = StreamWriter(self._request, session.resume, session.send_changed)
        self.encoding = self._writer.encoding
        if joined.gap:
            joined.subscription.gap()
        self._next_comment = self._deadlines.after(KEEP_ALIVE, self._still_here)
        self._held = self._call.admission.standing.hold(self.identity, lambda _: self.end())
        joined.subscription.resume()
        if _event_source(self._call):
            self._tell_position(joined)
        self._request.forget_head()
        self._writer.go_direct()
        self._request.when_client_ends(self.end)  # last: it may have ended while it waited

    def _tell_position(self, joined: Joined) -> None:
        """Send the cursor again, in an event, unless another event has set a newer one: Firefox and
        Node.js ignore an id without data."""
        if joined.subscription.cursor == joined.cursor and not joined.gap:
            room, cursor = joined.subscription.room.stream.room, str(joined.cursor)
            frame = {"type": "position", "room": room, "cursor": cursor}
            self.notify(self.encoding.event(frame))

    def _still_here(self) -> None:
        assert self._next_comment is not None
        transport = self._request.channel.transport
        if silent(transport):  # its network is gone, and nothing else would tell for a long time
            transport.abortConnection()
            return
        self._writer.write(b":\n\n")
        due = self._next_comment.when
        self._next_comment = self._deadlines.again(due, KEEP_ALIVE, self._still_here)

    def go(self, retry: int) -> None:
        """End the stream; the client is to come back after ``retry`` milliseconds."""
        self._writer.write(EVENT_STREAM.come_back(retry))
        self.end()

    def end(self) -> None:
        """End the stream."""
        self._writer.finish()

    def lost(self) -> None:
        """The connection has ended, or the stream has."""
        self._writer.lost()
        if self._next_comment is not None:
            self._next_comment.cancel()
        if self._held is not None:
            self._held.release()
            self._held = None
        self.session.close()

    # -- ISubscriber -------------------------------------------------------------------------------

    def deliver(self, data: bytes, end: int) -> bool:
        return self._writer.offer(data)

    def notify(self, data: bytes) -> bool:
        return self._writer.offer(data)

    @property
    def send(self) -> Callable[[bytes], int] | None:
        return self._writer.send

    def keep(self, rest: bytes) -> None:
        self._writer.keep(rest)

    def closed(self, error: ChatError) -> None:
        self.end()
