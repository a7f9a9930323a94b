"""What the dialects of WebSocket share: a session, limits, expiry, and how errors are met."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.access.identity import Identity
from chatd.access.rate_limit import BAD_IN_A_ROW
from chatd.access.standing import Held
from chatd.protocol.errors import ChatError, Code
from chatd.rooms.interfaces import IEncoding, ISubscriber
from chatd.service.session import Session
from chatd.transports.encodings import WEBSOCKET
from chatd.transports.websocket.connection import WebSocketConnection

CLOSE_BAD_REQUEST = 4400
CLOSE_UNAUTHORIZED = 4401


@implementer(ISubscriber)
class RoomEnd:
    """A connection's end of its subscription to one room."""

    encoding: IEncoding = WEBSOCKET

    def __init__(self, dialect: BaseDialect, room: str) -> None:
        self._dialect = dialect
        self._room = room
        self._outlet = dialect.connection.outlet

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
        return self._outlet.offer(data)

    def closed(self, error: ChatError) -> None:
        self._dialect.dropped(self._room, error)


class BaseDialect(ABC):
    """One connection's side of the talk, whatever its words are."""

    _log = Logger()
    #: What it takes part in a room with.
    end: ClassVar[type[RoomEnd]] = RoomEnd

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self._door = connection.factory.door
        self.session = Session(
            connection.factory.chat, connection.identity, lambda room: self.end(self, room)
        )
        self._publishes = self._door.rate.bucket()
        self._bad = 0
        self._held: Held | None = None

    def writable(self) -> None:
        """See `chatd.transports.websocket.interfaces.Dialect`."""
        self.session.resume()

    def blocked(self) -> None:
        """See `chatd.transports.websocket.interfaces.Dialect`."""
        self.session.send_changed()

    def closed(self) -> None:
        """See `chatd.transports.websocket.interfaces.Dialect`."""
        if self._held is not None:
            self._held.release()
        self.session.close()

    @abstractmethod
    def dropped(self, room: str, error: ChatError) -> None:
        """A room ended our subscription: it is gone, or our right to it."""

    @abstractmethod
    def _tell(self, error: ChatError) -> None:
        """Say ``error`` to the client."""

    def _await_expiry(self) -> None:
        """Close when the token of this session is worth nothing any more."""
        if self._held is not None:
            self._held.release()
        self._held = self._door.standing.hold(self.session.identity, self._expired)

    def _expired(self, why: ChatError) -> None:
        self._tell(why)
        self.connection.sendClose(CLOSE_UNAUTHORIZED, why.text)

    def _error(self, failure: Failure) -> ChatError:
        """What to say of ``failure``; logged if it is a fault of ours."""
        if isinstance(failure.value, ChatError):
            return failure.value
        self._log.failure("A request failed.", failure)
        return ChatError(Code.UNAVAILABLE, "The server failed; try again.", retry=2)

    def _refuse(self, error: ChatError) -> None:
        """Answer a request with ``error``; a client beyond help is sent away."""
        self.connection.factory.metrics.errors.labels(error.code.word).inc()
        self._tell(error)
        self._bad = self._bad + 1 if error.code is Code.BAD_REQUEST else 0
        if self._bad == BAD_IN_A_ROW:
            self.connection.sendClose(CLOSE_BAD_REQUEST, "too many bad requests")
