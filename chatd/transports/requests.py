"""The requests of the protocol ("WebSocket"), for every transport that keeps a connection."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from chatd.access.rate_limit import Rate
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, bad_request
from chatd.protocol.messages import CONTENT_BYTES
from chatd.protocol.names import room_name
from chatd.protocol.publication import Publication
from chatd.rooms.start_position import After, Last, Now, Start, check_last, since
from chatd.service.outcomes import Receipt
from chatd.service.session import MAX_ROOMS
from chatd.transports.dialect import BaseDialect, ClientLink

#: Requests of a connection other than publishes: a client may join all its rooms at once, and more
#: than once.
REQUESTS = Rate(50, burst=400, what="requests")

#: Called once with the answer to a request, or None if it has none.
Respond = Callable[[dict[str, Any] | None], None]


class RequestDialect(BaseDialect):
    """Carries out requests, which are objects with a ``type``, and answers with such objects."""

    def __init__(self, connection: ClientLink) -> None:
        super().__init__(connection)
        self._others = REQUESTS.bucket()

    @abstractmethod
    def _say(self, frame: dict[str, Any]) -> None:
        """Send one object."""

    def _tell(self, error: ChatError) -> None:
        self._say(shown(error))

    def welcome(self) -> dict[str, Any]:
        """The object ``welcome``: the client's name, and the limits on what it sends."""
        limits = {
            "text": self.session.chat.max_text,
            "content": CONTENT_BYTES,
            "frame": self.connection.factory.max_frame,
            "rooms": MAX_ROOMS,
        }
        self._await_expiry()
        return {"type": "welcome", "user": self.session.identity.user, "limits": limits}

    def handle(self, frame: dict[str, Any], answer: Respond) -> None:
        """Carry out one request. ``answer`` is called now or later; errors name the room and id.
        Under a token that has expired none is but the one to renew it, which may have come in time,
        and waited to be read."""
        if frame.get("type") != "auth" and not self._is_valid():
            return
        request = _REQUESTS.get(str(frame.get("type")), RequestDialect._unknown)
        doing = maybeDeferred(request, self, frame, answer)
        arguments = (frame, answer)
        answered = doing.addCallbacks(self._done, self._failed, errbackArgs=arguments)
        self.connection.work(answered)

    def _done(self, _: None) -> None:
        self._bad = 0

    def _failed(self, failure: Failure, frame: dict[str, Any], answer: Respond) -> None:
        error = self._error(failure)
        room, id = frame.get("room"), frame.get("id")
        error = error.about(
            room if isinstance(room, str) else None, id if isinstance(id, str) else None
        )
        self._refuse(error, lambda error: answer(shown(error)))

    async def _unknown(self, frame: dict[str, Any], answer: Respond) -> None:
        raise bad_request(f"The type is one of {', '.join(_REQUESTS)}.")

    async def _join(self, frame: dict[str, Any], answer: Respond) -> None:
        self._others.check(self._admission.clock.seconds())
        name = room_name(frame.get("room"))
        joined = await self.session.join(name, self.end(self, name), _start(frame), self._ready)
        if joined is None:
            return
        answer(
            {
                "type": "joined",
                "room": name,
                "cursor": str(joined.cursor),
                "members": joined.members.names,
                "count": joined.members.count,
                "gap": joined.gap,
            }
        )
        if joined.gap:
            joined.subscription.gap_told()
        joined.subscription.resume()

    async def _ready(self) -> bool:
        """Wait until the client can take a large answer; False if it has gone."""
        outlet = self.connection.outlet
        while not await outlet.ready():
            if outlet is self.connection.outlet:
                return False
            outlet = self.connection.outlet  # the session goes on over another transport
        return True

    async def _leave(self, frame: dict[str, Any], answer: Respond) -> None:
        self._others.check(self._admission.clock.seconds())
        name = room_name(frame.get("room"))
        await self.session.leave_in_turn(name)
        answer({"type": "left", "room": name})

    def _message(self, frame: dict[str, Any], answer: Respond) -> Deferred[None]:
        # no coroutine: it would cost a tenth of what a publish does
        self._publishes.check(self._admission.clock.seconds())
        name = room_name(frame.get("room"))
        get, identity = frame.get, self.session.identity
        publication = self.session.chat.publication(
            identity, name, get("text"), get("data"), get("id"), get("after")
        )
        return self.session.publish(publication).addCallbacks(
            self._published,
            _naming,
            callbackArgs=(name, answer),
            errbackArgs=(frame, publication),
        )

    def _published(self, receipt: Receipt, name: str, answer: Respond) -> None:
        answer({"type": "ack", "room": name, "id": receipt.id})

    async def _typing(self, frame: dict[str, Any], answer: Respond) -> None:
        await self.session.typing(room_name(frame.get("room")))
        answer(None)

    async def _auth(self, frame: dict[str, Any], answer: Respond) -> None:
        self._others.check(self._admission.clock.seconds())
        token = frame.get("token")
        if not isinstance(token, str):
            raise bad_request("Give the token as a string.")
        self.session.become(self._admission.rights.renew(self.session.identity, token))
        answer(self.welcome())

    def dropped(self, room: str, error: ChatError) -> None:
        self.session.dropped(room)
        self._say({"type": "left", "room": room})
        self._say(error.about(room).frame())


#: What carries out a request, by its type.
_REQUESTS: Mapping[str, Callable[..., Coroutine[Any, Any, None] | Deferred[None]]] = {
    "join": RequestDialect._join,
    "leave": RequestDialect._leave,
    "message": RequestDialect._message,
    "typing": RequestDialect._typing,
    "auth": RequestDialect._auth,
}


def _naming(failure: Failure, frame: dict[str, Any], publication: Publication) -> Failure:
    """Have the answer to a publish name the message also where the server made its id, and
    failed."""
    if not failure.check(ChatError):
        frame["id"] = publication.content.id
    return failure


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


def shown(error: ChatError) -> dict[str, Any]:
    """The object for ``error``."""
    # an echoed name may hold lone surrogates, which JSON can escape but UTF-8 cannot carry
    return {
        key: value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
        for key, value in error.frame().items()
    }
