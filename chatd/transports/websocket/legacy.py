"""WebSocket clients that ask for no subprotocol (protocol, "The original's clients")."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatd.protocol.errors import ChatError, Code, bad_request
from chatd.protocol.json import load_object
from chatd.protocol.messages import legacy_text
from chatd.protocol.names import room_name
from chatd.rooms.interfaces import IEncoding
from chatd.rooms.start_position import Now
from chatd.transports.dialect import (
    CLOSE_BAD_REQUEST,
    CLOSE_UNAUTHORIZED,
    BaseDialect,
    RoomEnd,
)
from chatd.transports.encodings import LEGACY, text_frame
from chatd.transports.websocket.close_codes import TRY_LATER
from chatd.transports.websocket.connection import WebSocketConnection

#: Close codes by error, for what goes wrong with the room in the URL.
CLOSE = {
    Code.BAD_REQUEST: CLOSE_BAD_REQUEST,
    Code.UNAUTHORIZED: CLOSE_UNAUTHORIZED,
    Code.FORBIDDEN: 4403,
    Code.UNKNOWN_ROOM: 4404,
    Code.UNAVAILABLE: TRY_LATER,
}


class LegacyEnd(RoomEnd):
    """The connection as a subscriber: live messages only."""

    encoding: IEncoding = LEGACY

    def notify(self, data: bytes) -> bool:
        return True  # the original knows no presence


class Legacy(BaseDialect):
    """What one connection of an original client says and hears."""

    end = LegacyEnd
    connection: WebSocketConnection

    def __init__(self, connection: WebSocketConnection) -> None:
        super().__init__(connection)
        self.begin(connection.identity)
        #: Who the URL says that it is; None in token mode.
        self._named = self._admission.rights.username(connection.parameter)

    # -- the connection ----------------------------------------------------------------------------

    def opened(self) -> None:
        self._say("Connection open")
        self._await_expiry()
        doing = Deferred.fromCoroutine(self._enter())
        doing.addErrback(self._not_entered)
        self.connection.work(doing)

    async def _enter(self) -> None:
        name = room_name(self.connection.parameter("roomname"), legacy=True)
        joined = await self.session.join(name, self.end(self, name), Now())
        if joined is not None:
            joined.subscription.resume()

    def _not_entered(self, failure: Failure) -> None:
        self._leave(self._error(failure))

    def dropped(self, room: str, error: ChatError) -> None:
        """The connection's only room has ended the subscription: close."""
        self.session.dropped(room)
        self._leave(error)

    def _leave(self, error: ChatError) -> None:
        self._refuse(error)
        self.connection.sendClose(CLOSE.get(error.code, 1011), error.code.word)

    def received(self, payload: bytes, binary: bool) -> None:
        if not self._is_valid():
            return
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
        self._publishes.check(self._admission.clock.seconds())
        identity = self.session.identity
        if self._admission.rights.tokens is None and frame.get("username") is not None:
            identity = self._admission.rights.identify(
                None, self._named, legacy=True, named=frame["username"]
            )
        name = room_name(frame.get("roomname"), legacy=True)
        chat = self.session.chat
        publication = chat.publication(identity, name, legacy_text(frame.get("message")))
        await self.session.publish(publication, identity)

    def drain(self, retry: int) -> None:
        """Does nothing: the original's protocol has no goodbye but the close code."""

    # -- answers -----------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self.connection.outlet.write(text_frame(text.encode("utf-8", "replace")))

    def _tell(self, error: ChatError) -> None:
        self._say(f"error: {error.line()}")
