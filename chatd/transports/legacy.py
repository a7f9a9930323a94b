"""The original's WebSocket clients, which ask for no subprotocol (protocol, section 4)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.auth import Identity
from chatd.deadlines import Deadline
from chatd.interfaces import IEncoding, ISubscriber
from chatd.opening import Now
from chatd.session import Session
from chatd.transports.encodings import LEGACY, text_frame
from chatd.transports.websocket import Connection
from chatd.wire import ChatError, Code, bad_request, load_object, room_name, user_name

#: Close codes by error, for what goes wrong with the room in the URL.
CLOSE = {
    Code.BAD_REQUEST: 4400,
    Code.UNAUTHORIZED: 4401,
    Code.FORBIDDEN: 4403,
    Code.UNKNOWN_ROOM: 4404,
    Code.UNAVAILABLE: 1013,
}


@implementer(ISubscriber)
class LegacyEnd:
    """A connection's end of its subscription: live messages only."""

    encoding: IEncoding = LEGACY

    def __init__(self, dialect: Legacy) -> None:
        self._dialect = dialect
        self._outlet = dialect.connection.outlet

    @property
    def identity(self) -> Identity:
        return self._dialect.session.identity

    def deliver(self, data: bytes, end: int) -> bool:
        return self._outlet.offer(data)

    def notify(self, data: bytes) -> bool:
        return True  # the original knows no presence

    def closed(self, error: ChatError) -> None:
        self._dialect.dropped(error)


class Legacy:
    """What one connection of an original client says and hears."""

    _log = Logger()

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._door = connection.factory.door
        self.session = Session(
            connection.factory.chat, connection.identity, lambda room: LegacyEnd(self)
        )
        self._rate = self._door.bucket()
        self._bad = 0
        self._expiry: Deadline | None = None

    # -- the connection ----------------------------------------------------------------------------

    def opened(self) -> None:
        self._say("Connection open")
        if self.session.identity.expires is not None:
            self._expiry = self._door.deadlines.at(self.session.identity.expires, self._expired)
        doing = Deferred.fromCoroutine(self._enter())
        doing.addErrback(self._not_entered)
        self.connection.work(doing)

    async def _enter(self) -> None:
        name = room_name(self.connection.parameter("roomname"), legacy=True)
        joined = await self.session.join(name, Now())
        if joined is not None:
            joined.subscription.resume()

    def _not_entered(self, failure: Failure) -> None:
        self._leave(self._error(failure))

    def dropped(self, error: ChatError) -> None:
        """The room ended our subscription: there is nothing left to hear."""
        for name in list(self.session.joined):
            self.session.dropped(name)
        self._leave(error)

    def _leave(self, error: ChatError) -> None:
        self._refuse(error)
        self.connection.sendClose(CLOSE.get(error.code, 1011), error.code.word)

    def _expired(self) -> None:
        self._say("error: unauthorized: The token has expired; connect with a new one.")
        self.connection.sendClose(CLOSE[Code.UNAUTHORIZED], "the token has expired")

    def received(self, payload: bytes, binary: bool) -> None:
        doing = Deferred.fromCoroutine(self._handle(payload, binary))
        doing.addErrback(lambda failure: self._refuse(self._error(failure)))
        self.connection.work(doing)

    async def _handle(self, payload: bytes, binary: bool) -> None:
        if binary:
            raise bad_request("Send text frames.")
        frame = load_object(payload)
        if frame.get("status") == "message":
            await self._message(frame)
        elif frame.get("status") != "status":
            raise bad_request('The status is "message" or "status".')
        self._bad = 0

    async def _message(self, frame: dict[str, Any]) -> None:
        self._rate.check(self._door.clock.seconds())
        identity = self.session.identity
        if self._door.tokens is None and frame.get("username") is not None:
            identity = Identity(user_name(frame["username"], legacy=True))
        name = room_name(frame.get("roomname"), legacy=True)
        await self.session.chat.publish(identity, name, frame.get("message"))

    def drained(self) -> None:
        self.session.resume()

    def drain(self, retry: int) -> None:
        """The original knows no goodbye but the close code."""

    def closed(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self.session.close()

    # -- answers -----------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self.connection.outlet.write(text_frame(text.encode("utf-8", "replace")))

    def _error(self, failure: Failure) -> ChatError:
        if isinstance(failure.value, ChatError):
            return failure.value
        self._log.failure("A request failed.", failure)
        return ChatError(Code.UNAVAILABLE, "The server failed; try again.")

    def _refuse(self, error: ChatError) -> None:
        self.connection.factory.metrics.errors.labels(error.code.word).inc()
        self._say(f"error: {error.line()}")
        self._bad = self._bad + 1 if error.code is Code.BAD_REQUEST else 0
        if self._bad == 10:
            self.connection.sendClose(CLOSE[Code.BAD_REQUEST], "too many bad requests")
