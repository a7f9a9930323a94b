"""The subprotocol ``chatd.v1``: one JSON object a frame (protocol, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatd.access.rate_limit import Rate
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, bad_request
from chatd.protocol.json import load_object
from chatd.protocol.messages import CONTENT_BYTES
from chatd.protocol.names import room_name
from chatd.rooms.start_position import After, Last, Now, Start, check_last, since
from chatd.service.session import MAX_ROOMS
from chatd.transports.websocket.connection import WebSocketConnection
from chatd.transports.websocket.subprotocol import BaseDialect

#: Requests of a connection other than publishes: a client may join all its rooms at once, and more
#: than once.
REQUESTS = Rate(50, burst=400, what="requests")


class ChatV1(BaseDialect):
    """What one ``chatd.v1`` connection says and hears."""

    def __init__(self, connection: WebSocketConnection) -> None:
        super().__init__(connection)
        self._others = REQUESTS.bucket()
        self._requests: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any] | None]]] = {
            "join": self._join,
            "leave": self._leave,
            "message": self._message,
            "typing": self._typing,
            "auth": self._auth,
        }

    # -- the connection ----------------------------------------------------------------------------

    def opened(self) -> None:
        self._welcome()
        try:
            room = self.connection.parameter("roomname")
        except ChatError as error:
            self._refuse(error)
            return
        if room is not None:
            self._handle({"type": "join", "room": room})

    def received(self, payload: bytes, binary: bool) -> None:
        try:
            if binary:
                raise bad_request("Send text frames.")
            self._handle(load_object(payload))
        except ChatError as error:
            self._refuse(error)

    def drain(self, retry: int) -> None:
        self.connection.send({"type": "bye", "reason": "restart", "retry": retry})

    def _welcome(self) -> None:
        limits = {
            "text": self.session.chat.max_text,
            "content": CONTENT_BYTES,
            "frame": self.connection.factory.max_frame,
            "rooms": MAX_ROOMS,
        }
        user = self.session.identity.user
        self.connection.send({"type": "welcome", "user": user, "limits": limits})
        self._await_expiry()

    # -- requests ----------------------------------------------------------------------------------

    def _handle(self, frame: dict[str, Any]) -> None:
        """Answer one request, now or later; errors name its room and id."""
        request = self._requests.get(str(frame.get("type")), self._unknown)
        doing = Deferred.fromCoroutine(request(frame))
        answered = doing.addCallbacks(self._answered, self._failed, errbackArgs=(frame,))
        self.connection.work(answered)

    def _answered(self, answer: dict[str, Any] | None) -> None:
        self._bad = 0
        if answer is not None:
            self.connection.send(answer)

    def _failed(self, failure: Failure, frame: dict[str, Any]) -> None:
        error = self._error(failure)
        room, id = frame.get("room"), frame.get("id")
        self._refuse(
            error.about(
                room if isinstance(room, str) else None, id if isinstance(id, str) else None
            )
        )

    def _tell(self, error: ChatError) -> None:
        self.connection.send(_utf8(error.frame()))

    async def _unknown(self, frame: dict[str, Any]) -> None:
        raise bad_request(f"The type is one of {', '.join(self._requests)}.")

    async def _join(self, frame: dict[str, Any]) -> None:
        self._others.check(self._door.clock.seconds())
        name = room_name(frame.get("room"))
        joined = await self.session.join(name, _start(frame), self.connection.outlet.ready)
        if joined is None:
            return
        self._answered(
            {
                "type": "joined",
                "room": name,
                "cursor": str(joined.cursor),
                "members": joined.members.names,
                "count": joined.members.count,
                "gap": joined.gap,
            }
        )
        joined.subscription.resume()

    async def _leave(self, frame: dict[str, Any]) -> dict[str, Any]:
        self._others.check(self._door.clock.seconds())
        name = room_name(frame.get("room"))
        await self.session.leave_in_turn(name)
        return {"type": "left", "room": name}

    async def _message(self, frame: dict[str, Any]) -> dict[str, Any]:
        self._publishes.check(self._door.clock.seconds())
        name = room_name(frame.get("room"))
        said = (frame.get(part) for part in ("text", "data", "id", "after"))
        publication = self.session.chat.publication(self.session.identity, name, *said)
        receipt = await self.session.publish(publication)
        return {"type": "ack", "room": name, "id": receipt.id}

    async def _typing(self, frame: dict[str, Any]) -> None:
        self.session.typing(room_name(frame.get("room")))

    async def _auth(self, frame: dict[str, Any]) -> None:
        self._others.check(self._door.clock.seconds())
        token = frame.get("token")
        if not isinstance(token, str):
            raise bad_request("Give the token as a string.")
        self.session.become(self._door.rights.renew(self.session.identity, token))
        self._welcome()

    def dropped(self, room: str, error: ChatError) -> None:
        self.session.dropped(room)
        self.connection.send({"type": "left", "room": room})
        self.connection.send(error.about(room).frame())


def _start(frame: dict[str, Any]) -> Start:
    given = [key for key in ("after", "last", "since") if frame.get(key) is not None]
    if len(given) > 1:
        raise bad_request("Give at most one of after, last and since.")
    if not given:
        return Now()
    value = frame[given[0]]
    if given[0] == "after":
        return After(Cursor.parse(value))
    return Last(check_last(value)) if given[0] == "last" else since(value)


def _utf8(frame: dict[str, Any]) -> dict[str, Any]:
    # an echoed name may hold lone surrogates, which JSON can escape but UTF-8 cannot carry
    return {
        key: value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
        for key, value in frame.items()
    }
