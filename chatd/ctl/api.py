"""A node's HTTP API, as ``chatctl`` uses it (protocol, "HTTP"). Calls block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import click
from attrs import define, frozen

from chatd.ctl.output import plain

#: Seconds that an answer may take beyond what it was asked to wait.
PATIENCE = 15.0
#: How texts are sent. What is no text, such as a wrong argument of the command line, is for the
#: node to refuse.
UTF_8 = ("utf-8", "surrogatepass")
#: Messages in one answer, and seconds that a poll waits for the next.
PAGE, WAIT = 1000, 50
#: What a reader is told of a gap, which is also one where the room was deleted and made again.
GAP = "chatctl: some messages are no longer kept"
#: The error's code of a room that does not exist; whatever else has 404 is another thing.
NO_ROOM = "unknown_room"


class Failed(click.ClickException):
    """Ends a command with one line: it was refused, or something is wrong."""


class Away(Failed):
    """Nobody answers, or cannot do it now."""

    exit_code = 3


class Unknown(Failed):
    """There is no such room."""

    exit_code = 4


class Forbidden(Failed):
    """The key or token does not suffice."""

    exit_code = 5


class MessageTooLarge(Failed):
    """More than the node takes."""


_FAILURES = {
    401: Forbidden,
    403: Forbidden,
    413: MessageTooLarge,
    429: Away,
    503: Away,
}


@frozen
class Page:
    """Some messages, and the cursor after them."""

    messages: list[dict[str, Any]]
    cursor: str
    gap: bool


class _Found(dict[str, Any]):
    """A JSON object of which `Failed` says what it lacks."""

    def __missing__(self, key: str) -> NoReturn:
        raise Failed(f"the answer has no {key!r}; is this chatd?")


@define
class ChatdAPI:
    """The node, or the proxy before it, at ``url``. ``token`` is a token or the admin key."""

    url: str
    token: str = ""

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        wait: float = 0,
        token: str = "",
    ) -> bytes:
        """The body of the answer; `Failed` says why there is none. ``wait`` is in seconds."""
        url = f"{self.url.rstrip('/')}{path}{'?' if query else ''}"
        url += urlencode(query or {}, encoding=UTF_8[0], errors=UTF_8[1])
        headers = {"Content-Type": "application/json"}
        if token or self.token:
            headers["Authorization"] = f"Bearer {token or self.token}"
        # the limits are in bytes of UTF-8, which escapes would make three times as many
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode(*UTF_8)
        try:
            request = Request(url, data, headers, method=method)
            with urlopen(request, timeout=PATIENCE + wait) as answer:
                found: bytes = answer.read()
                return found
        except HTTPError as error:
            with error:
                self._refused(error)
        except (OSError, HTTPException, ValueError) as error:
            raise Away(f"{self.url} does not answer: {why(error)}") from None

    def _refused(self, error: HTTPError) -> NoReturn:
        """What the node said, or whatever stands before it."""
        kind = _FAILURES.get(error.code, Failed)
        try:
            said = json.loads(error.read())
            text = f"{said['code']}: {said['text']}"
            if said["code"] == NO_ROOM:
                kind = Unknown
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            text = f"{self.url} answers {error.code} {error.reason}"
        raise kind(plain(text))

    def json(self, method: str, path: str, **more: Any) -> Any:
        """As `ask`; the JSON object in the answer. `Failed` if there is none, or if what is looked
        for in it is not there: something else than chatd answers."""
        body = self.ask(method, path, **more)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Failed(f"{self.url}{path} answers no JSON object; is this chatd?")
        return _Found(found)

    def page(self, room: str, wait: float = 0, **query: str) -> Page:
        """Messages of ``room``; ``query`` as in the protocol."""
        if wait:
            query["wait"] = str(int(wait))
        found = self.json("GET", f"{room_path(room)}/messages", query=query, wait=wait)
        return Page(found["messages"], found["cursor"], found["gap"])

    def history(self, room: str) -> Iterator[Page]:
        """All that is kept of ``room``, oldest first. A page with a gap does not follow on the one
        before it, and may be empty."""
        page = self.page(room, since="1970-01-01T00:00:00Z", limit=str(PAGE))
        while page.messages or page.gap:
            yield page
            page = self.page(room, after=page.cursor, limit=str(PAGE))

    def past(self, room: str, before: str, **who: str) -> Iterator[list[dict[str, Any]]]:
        """The messages of ``room`` that are kept and come before the cursor ``before``, the newest
        first, many at a time. It makes nobody present. ``who`` is of the query, as in `page`."""
        cursor, more = before, True
        while more:
            query = {"before": cursor, "limit": str(PAGE), **who}
            found = self.json("GET", f"{room_path(room)}/messages", query=query)
            cursor, more = found["cursor"], found["more"]
            yield found["messages"]


def room_path(room: str, user: str | None = None) -> str:
    """The path of a room, or of a member of it."""
    path = f"/rooms/{quote(room, '', *UTF_8)}"
    return path if user is None else f"{path}/members/{quote(user, '', *UTF_8)}"


def why(error: Exception) -> str:
    """What went wrong, in a few words."""
    reason = error.reason if isinstance(error, URLError) else error
    found = str(getattr(reason, "strerror", None) or reason).strip()
    return plain(found or type(error).__name__)
