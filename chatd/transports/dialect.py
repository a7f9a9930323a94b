"""What every protocol on a client's connection has in common: a session, limits, expiry of tokens,
handling of errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.access.admission import Admission
from chatd.access.identity import Identity
from chatd.access.rate_limit import BAD_IN_A_ROW
from chatd.access.standing import Held
from chatd.protocol.errors import ChatError, Code
from chatd.rooms.interfaces import IEncoding, ISubscriber
from chatd.service.chat import Chat
from chatd.service.session import Session
from chatd.telemetry.metrics import Metrics
from chatd.transports.encodings import WEBSOCKET

CLOSE_BAD_REQUEST = 4400
CLOSE_UNAUTHORIZED = 4401


class Outlet(Protocol):
    """The sending side of a connection; see `chatd.transports.writer.Writer`."""

    def write(self, data: bytes) -> None:
        """Send an answer, even if other data is still held."""

    def offer(self, data: bytes) -> bool:
        """Send messages. Returns False, and sends nothing, if other data is still held."""

    @property
    def send(self) -> Callable[[bytes], int] | None:
        """See `chatd.rooms.interfaces.ISubscriber`."""

    def keep(self, rest: bytes) -> None:
        """See `chatd.rooms.interfaces.ISubscriber`."""

    def notify(self, data: bytes) -> bool:
        """Send an event that is worthless later. Returns False, and drops it, if data is held."""

    async def ready(self) -> bool:
        """Wait until everything written was taken by the transport; False if it has ended."""


class Serving(Protocol):
    """What the connections of a transport share on a node."""

    chat: Chat
    admission: Admission
    metrics: Metrics
    #: The largest frame or packet that a client may send, in bytes.
    max_frame: int


class ClientLink(Protocol):
    """A client's connection, as far as its dialect needs it."""

    @property
    def factory(self) -> Serving:
        """What it shares with the other connections of its transport."""

    @property
    def outlet(self) -> Outlet:
        """Its sending side."""

    def work(self, doing: Deferred[None]) -> None:
        """Count ``doing`` as a request under way, until it has fired."""

    def note(self, error: ChatError) -> None:
        """Count a request that was refused."""

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        """Close the connection with ``code``, one of WebSocket's (RFC 6455, section 7.4)."""


@implementer(ISubscriber)
class RoomEnd:
    """A connection as a subscriber of one room."""

    encoding: IEncoding = WEBSOCKET

    def __init__(self, dialect: BaseDialect, room: str) -> None:
        self._dialect = dialect
        self._room = room

    @property
    def _outlet(self) -> Outlet:
        # not kept: a session that goes on over another transport lets go of the one before
        return self._dialect.connection.outlet

    @property
    def identity(self) -> Identity:
        return self._dialect.session.identity

    def deliver(self, data: bytes, end: int) -> bool:
        return self._outlet.offer(data)

    @property
    def send(self) -> Callable[[bytes], int] | None:
        return self._outlet.send

    def keep(self, rest: bytes) -> None:
        self._outlet.keep(rest)

    def notify(self, data: bytes) -> bool:
        return self._outlet.notify(data)

    def closed(self, error: ChatError) -> None:
        self._dialect.dropped(self._room, error)


class BaseDialect(ABC):
    """The dialect of one connection. Call `begin` before anything else."""

    _log = Logger()
    #: The kind of subscriber that it joins rooms with.
    end: ClassVar[type[RoomEnd]] = RoomEnd

    def __init__(self, connection: ClientLink) -> None:
        self.connection = connection
        self._admission = connection.factory.admission
        self.session: Session
        self._publishes = self._admission.rate.bucket()
        self._bad = 0
        self._held: Held | None = None

    def begin(self, identity: Identity) -> None:
        """Begin a session as ``identity``; no room is joined yet."""
        chat = self.connection.factory.chat
        self.session = Session(chat, identity)

    def writable(self) -> None:
        """See `chatd.transports.websocket.interfaces.Dialect`."""
        self.session.resume()

    def blocked(self) -> None:
        """See `chatd.transports.websocket.interfaces.Dialect`."""
        self.session.send_changed()

    def closed(self) -> None:
        """See `chatd.transports.websocket.interfaces.Dialect`."""
        self._release()
        self.session.close()

    @abstractmethod
    def dropped(self, room: str, error: ChatError) -> None:
        """The session was removed from ``room``, because of ``error``: the room or the right is
        gone."""

    @abstractmethod
    def _tell(self, error: ChatError) -> None:
        """Send ``error`` to the client."""

    def _send_away(self, code: int, reason: str) -> None:
        """End the session, and close the connection."""
        self.connection.sendClose(code, reason)

    def _await_expiry(self) -> None:
        """Close the connection when the token expires or its key is withdrawn."""
        self._release()
        self._held = self._admission.standing.hold(self.session.identity, self._expired)

    def _is_valid(self) -> bool:
        """Whether the token is valid still; else the connection is closed."""
        return self._held is None or self._held.check()

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()

    def _expired(self, why: ChatError) -> None:
        self.connection.note(why)
        self._tell(why)
        self._send_away(CLOSE_UNAUTHORIZED, why.text)

    def _error(self, failure: Failure) -> ChatError:
        """The error for ``failure``, which is logged if it is a fault of chatd."""
        if isinstance(failure.value, ChatError):
            return failure.value
        self._log.failure("A request failed.", failure)
        return ChatError(Code.UNAVAILABLE, "The server failed; try again.", retry=2)

    def _refuse(self, error: ChatError, tell: Callable[[ChatError], None] | None = None) -> None:
        """Answer a request with ``error``, by calling ``tell`` if given. After too many bad
        requests in a row the connection is closed."""
        self.connection.note(error)
        (tell or self._tell)(error)
        self._bad = self._bad + 1 if error.code is Code.BAD_REQUEST else 0
        if self._bad == BAD_IN_A_ROW:
            self._send_away(CLOSE_BAD_REQUEST, "too many bad requests")
