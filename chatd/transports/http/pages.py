"""The chat page and its files."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

from chatd.transports.http.router import Call, Reply, Route

#: Path, file in ``chatd.web``, media type.
PAGES = (
    ("/", "index.html", "text/html; charset=utf-8"),
    ("/log.js", "log.js", "text/javascript; charset=utf-8"),
    ("/page.js", "page.js", "text/javascript; charset=utf-8"),
    ("/chatd.js", "chatd.js", "text/javascript; charset=utf-8"),
    ("/chatd.css", "chatd.css", "text/css; charset=utf-8"),
)

#: Nothing inline, nothing from elsewhere (Content Security Policy Level 3).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def pages() -> list[Route]:
    """The chat page and its files, read once."""
    folder = files("chatd.web")
    return [
        Route(path, {"GET": _file((folder / name).read_bytes(), type)})
        for path, name, type in PAGES
    ]


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
