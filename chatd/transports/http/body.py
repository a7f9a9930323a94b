"""The body of a request: received up to a limit, and parsed as one of a few media types.

Nothing is parsed before the handler asks for it, after it has checked the head.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen
from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)
from twisted.internet.defer import Deferred

from chatd.protocol.errors import ChatError, Code, bad_request
from chatd.transports.pairs import Pairs

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
TEXT = "text/plain"
#: Parts of a multipart form, header lines of each, and their bytes, at most.
PARTS = 16
PART_HEADERS = 4
PART_HEADER_BYTES = 1024
#: Pieces of a body that are kept separately, at most: the sender chooses how many there are, and
#: one of a few bytes takes ten times as much memory.
PIECES = 64
#: Characters of a Content-Type, at most.
TYPE_CHARACTERS = 1000
#: Python's names of the charsets of a text, by their names in Content-Type.
CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
}


class NotSupported(Exception):
    """The media type, charset or content coding of a body is not supported (status 415)."""


@frozen
class MediaType:
    """A parsed Content-Type. ``name`` is ``type/subtype`` in lower case, empty if there is none."""

    name: str
    boundary: str | None
    #: One of the values of `CHARSETS`.
    charset: str

    @classmethod
    def parse(cls, header: str | None) -> MediaType:
        """Parse the header. Raises `NotSupported` for an unknown charset."""
        header = header or ""
        if len(header) > TYPE_CHARACTERS:
            raise NotSupported(f"A Content-Type has at most {TYPE_CHARACTERS} characters.")
        name, options = parse_options_header(header)
        charset = CHARSETS.get(options.get("charset", "utf-8").strip().lower())
        if charset is None:
            raise NotSupported("Send UTF-8.")
        return cls(name, options.get("boundary"), charset)

    @property
    def is_json(self) -> bool:
        """Whether a body of this type is JSON, which is the default."""
        return self.name in ("", "application/json", "text/json") or self.name.endswith("+json")

    @property
    def is_form(self) -> bool:
        return self.name in (FORM, MULTIPART)

    def text(self, raw: bytes) -> str:
        """Decode ``raw``. Raises `ChatError` bad_request."""
        try:
            return raw.decode(self.charset)
        except UnicodeDecodeError:
            raise bad_request(f"The text is not {self.charset.upper()}.") from None

    def form(self, raw: bytes) -> Pairs:
        """Parse the form ``raw``. Raises `ChatError` bad_request, or `NotSupported`."""
        pairs = Pairs.parse(raw) if self.name == FORM else self._parts(raw)
        declared = pairs.get("_charset_")  # HTML, section 4.10.21.4; RFC 7578, section 4.6
        if declared is not None and CHARSETS.get(declared.strip().lower()) != "utf-8":
            raise NotSupported("Send forms in UTF-8.")
        return pairs

    def _parts(self, raw: bytes) -> Pairs:
        """Parse a multipart form (RFC 7578), in time linear in the size of ``raw``. Nested
        multipart bodies are refused."""
        fields: list[tuple[str, str]] = []
        try:
            with PushMultipartParser(
                self.boundary or "",
                len(raw),
                max_header_size=PART_HEADER_BYTES,
                max_header_count=PART_HEADERS,
                max_segment_count=PARTS,
                strict=True,
            ) as parser:
                part: MultipartSegment | None = None
                for event in parser.parse(raw):
                    if isinstance(event, MultipartSegment):
                        part, value = event, b""
                    elif event is not None:
                        value += event
                    elif part is not None and part.name is not None:
                        kind = MediaType.parse(part.header("Content-Type"))
                        if kind.name.startswith("multipart/"):
                            raise bad_request("The form holds parts within a part.")
                        fields.append((part.name, kind.text(value)))
        except MultipartError:
            raise bad_request("The form cannot be read.") from None
        return Pairs.of(fields)


@define(eq=False)
class Body:
    """The body as it is received. ``limit`` is in bytes."""

    limit: int
    _pieces: list[bytes] = field(factory=list, init=False)
    _size: int = field(default=0, init=False)
    _complete: bool = field(default=False, init=False)
    _unwanted: bool = field(default=False, init=False)
    _waiting: Deferred[None] | None = field(default=None, init=False)

    @property
    def is_complete(self) -> bool:
        """Whether all of it has been received."""
        return self._complete

    @property
    def kept(self) -> int:
        """The bytes that are kept of it."""
        return 0 if self._unwanted else self._size

    def add(self, data: bytes) -> None:
        """Add a received piece."""
        self._size += len(data)
        if self._unwanted:
            return
        if self._size > self.limit:
            self.discard()
            self._wake()
        else:
            self._pieces.append(data)
            if len(self._pieces) > PIECES:
                self._pieces = [b"".join(self._pieces)]

    def complete(self) -> None:
        """The body has been received."""
        self._complete = True
        self._wake()

    def discard(self) -> None:
        """Drop the body, and what is still to come of it."""
        self._unwanted = True
        self._pieces.clear()

    def lost(self) -> None:
        """The client has disconnected: cancel `whole`, and keep nothing."""
        self.discard()
        if self._waiting is not None:
            self._waiting.cancel()

    async def whole(self, missed: Callable[[], None]) -> bytes:
        """Wait for the whole body; if there is more to come, ``missed`` is called first. Raises
        `ChatError` too_large."""
        if not self._complete and self._size <= self.limit:
            missed()
            self._waiting = Deferred()
            await self._waiting
        if self._size > self.limit:
            raise too_large(self.limit)
        return b"".join(self._pieces)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


def too_large(limit: int) -> ChatError:
    """The error for a body of more than ``limit`` bytes."""
    return ChatError(Code.TOO_LARGE, f"A body is at most {limit} bytes.")
