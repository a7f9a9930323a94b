"""The error codes of the protocol ("WebSocket"), and the exception that carries one."""

from __future__ import annotations

from enum import Enum
from typing import Any


class Code(Enum):
    """The error codes of the protocol, each with its HTTP status."""

    BAD_REQUEST = ("bad_request", 400)
    UNAUTHORIZED = ("unauthorized", 401)
    FORBIDDEN = ("forbidden", 403)
    UNKNOWN_ROOM = ("unknown_room", 404)
    NOT_JOINED = ("not_joined", 409)
    TOO_LARGE = ("too_large", 413)
    RATE_LIMITED = ("rate_limited", 429)
    UNAVAILABLE = ("unavailable", 503)

    def __init__(self, word: str, http: int) -> None:
        self.word = word
        self.http = http


#: Codes of requests that may be repeated after the seconds of ``Retry-After``.
AGAIN = frozenset({Code.RATE_LIMITED, Code.UNAVAILABLE})


class ChatError(Exception):
    """A refused request. ``text`` tells the client what to do. ``room`` and ``id`` are those of the
    request. ``retry`` is the value of ``Retry-After``, in seconds. ``stored`` is False if it is
    known that nothing was stored."""

    def __init__(
        self,
        code: Code,
        text: str,
        *,
        room: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        stored: bool | None = None,
    ) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.room = room
        self.id = id
        self.retry = retry
        self.stored = stored

    def about(self, room: str | None = None, id: str | None = None) -> ChatError:
        """A copy with the room and the message id set, unless they are None."""
        return ChatError(
            self.code,
            self.text,
            room=self.room if room is None else room,
            id=self.id if id is None else id,
            retry=self.retry,
            stored=self.stored,
        )

    def before_storing(self) -> ChatError:
        """A copy that says that nothing was stored."""
        error = self.about()
        error.stored = False
        return error

    def frame(self) -> dict[str, Any]:
        """The JSON object of the error (protocol, "WebSocket")."""
        frame: dict[str, Any] = {"type": "error", "code": self.code.word, "text": self.text}
        if self.room is not None:
            frame["room"] = self.room
        if self.id is not None:
            frame["id"] = self.id
        if self.stored is not None:
            frame["stored"] = self.stored
        return frame

    def line(self) -> str:
        """The error in one line for legacy clients: ``unknown_room: ...``."""
        return f"{self.code.word}: {self.text}"


def bad_request(text: str) -> ChatError:
    """A `ChatError` for input that the protocol does not allow."""
    return ChatError(Code.BAD_REQUEST, text)
