"""The chat page, the operators' page, and their files."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePath
from string import Template

from attrs import frozen

from chatd.transports.http.call import Call, Reply, Route
from chatd.transports.http.files import File

#: Media types of what is served, by suffix.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: Nothing inline, nothing from elsewhere (Content Security Policy Level 3).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


#: Paths of the browser client, which pages of any origin may load: it is the same for everyone.
PUBLIC = ("/chatd.js", "/client/")
ANY_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
#: What lies in the folder of the operators' page, and the file that is a folder's page.
OPERATORS, INDEX = "/admin/", "/index.html"
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
#: May be cached, and must be revalidated before use.
ASK = "no-cache"
#: Never changes (RFC 8246).
KEEP = "public, max-age=31536000, immutable"


@frozen
class Offer:
    """What is filled in in the page."""

    #: Rooms that exist from the start; the form offers the first.
    rooms: Sequence[str]
    #: "open" or "token".
    auth: str
    #: The longest text, in bytes.
    max_text: int
    #: Whether there is the operators' page.
    administered: bool = False


def routes(offer: Offer) -> list[Route]:
    """The pages and their files: whatever lies in ``chatd.web`` has its path here.

    A page, which is served at the path of its folder, names its files by a path with their version,
    where they may be kept for ever.
    """
    found, version = _found()
    made = []
    for path, (content, type) in found.items():
        if not offer.administered and path.startswith(OPERATORS):
            continue
        if path.endswith(INDEX):
            content = _filled_in(content, offer, found, version)
        made += _routes(path.removesuffix(INDEX) or "/", content, type, version)
    return made


def _routes(path: str, content: bytes, type: str, version: str) -> list[Route]:
    """A file at its plain path, and at one with a version."""
    public = path.startswith(PUBLIC)
    file = File(content, type, HEADERS | ANY_ORIGIN if public else HEADERS)

    async def get(call: Call) -> Reply:
        return file.reply(call, ASK)

    async def get_version(call: Call, asked: str) -> Reply:
        # an unknown version is that of a page from an older or newer node
        return file.reply(call, KEEP if asked == version else ASK)

    return [
        Route(path, {"GET": get}, public=public, linked=True),
        Route(f"/files/{{version}}{path}", {"GET": get_version}, public=public, linked=True),
    ]


@cache
def _found() -> tuple[Mapping[str, tuple[bytes, str]], str]:
    """Content and media type of what is served, by path, and the version of it all. Read once in a
    process: what an upgrade puts there is for the program that comes with it."""
    found = {path: (content, type) for path, content, type in _files(files("chatd.web"), "/")}
    return found, _version(found)


def _version(found: Mapping[str, tuple[bytes, str]]) -> str:
    digest = sha256()
    for path, (content, _) in sorted(found.items()):
        digest.update(f"{path} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _filled_in(page: bytes, offer: Offer, found: Container[str], version: str) -> bytes:
    """The page with its placeholders replaced, and the version in the paths of its files."""
    room = escape("".join(offer.rooms[:1]))
    text = Template(page.decode())
    filled = text.substitute(room=room, auth=offer.auth, max_text=offer.max_text)

    def versioned(match: re.Match[str]) -> str:
        known = f"/{match[2]}" in found
        return f"{match[1]}files/{version}/{match[2]}" if known else match[0]

    return re.sub(r'((?:href|src)=")([^"]+)(?=")', versioned, filled).encode()


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, bytes, str]]:
    """Path, content and media type of each file to be served."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _files(entry, f"{path}{entry.name}/")
        elif type := TYPES.get(PurePath(entry.name).suffix):
            yield path + entry.name, entry.read_bytes(), type
