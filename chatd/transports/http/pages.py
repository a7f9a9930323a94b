"""The chat page and its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePath
from string import Template
from typing import Any

from attrs import frozen

from chatd.transports.http.router import Call, Reply, Route

#: Media types of what is served, by suffix.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}

#: Nothing inline, nothing from elsewhere (Content Security Policy Level 3).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@frozen
class Offer:
    """What the page offers a visitor before it has asked the server anything."""

    #: Rooms that exist from the start; the form offers the first.
    rooms: Sequence[str]
    #: "open" or "token".
    auth: str
    #: The longest text, in bytes.
    max_text: int


def routes(offer: Offer) -> list[Route]:
    """The chat page and its files, read once: whatever lies in ``chatd.web`` has its path here."""
    found = {path: (content, type) for path, content, type in _files(files("chatd.web"), "/")}
    page, type = found.pop("/index.html")
    found["/"] = _filled_in(page, offer), type
    return [Route(path, {"GET": _file(*file)}) for path, file in found.items()]


def _filled_in(page: bytes, offer: Offer) -> bytes:
    """The page, its placeholders replaced."""
    room = escape("".join(offer.rooms[:1]))
    text = Template(page.decode())
    return text.substitute(room=room, auth=offer.auth, max_text=offer.max_text).encode()


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, bytes, str]]:
    """Path, content and media type of each file to be served."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, f"{path}{entry.name}/")
        elif type := TYPES.get(PurePath(entry.name).suffix):
            yield path + entry.name, entry.read_bytes(), type


def _file(content: bytes, type: str) -> Callable[[Call], Any]:
    etag = f'"{sha256(content).hexdigest()[:20]}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
    }

    async def get(call: Call) -> Reply:
        if call.header("if-none-match") == etag:
            return Reply(304, b"", type, headers)
        return Reply(200, content, type, headers)

    return get
