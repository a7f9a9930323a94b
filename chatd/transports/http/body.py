"""The body of a request: taken as it comes in, up to a limit, and read as one of a few types.

Nothing is parsed before a handler asks for it, which it does once it has judged the head.
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
#: Parts of a multipart form, the header lines of each, and their bytes.
PARTS = 16
PART_HEADERS = 4
PART_HEADER_BYTES = 1024
#: The longest Content-Type looked at, in characters.
TYPE_CHARACTERS = 1000
#: Names of the encodings that a text may come in, by what Python calls them.
CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
}


class NotSupported(Exception):
    """415: the type, the charset or the coding of a body is none that is understood."""


@frozen
class MediaType:
    """A Content-Type: ``type/subtype`` in lower case, empty if there is none, and what a body of it
    needs to be read."""

    name: str
    boundary: str | None
    #: One of the values of `CHARSETS`.
    charset: str

    @classmethod
    def parse(cls, header: str | None) -> MediaType:
        """Read a header. `NotSupported` for a charset that is not known here."""
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
        """Whether a body of this type is JSON; one without a type is taken for it."""
        return self.name in ("", "application/json", "text/json") or self.name.endswith("+json")

    @property
    def is_form(self) -> bool:
        return self.name in (FORM, MULTIPART)

    def text(self, raw: bytes) -> str:
        """``raw`` decoded; bad_request if it is not what its charset says."""
        try:
            return raw.decode(self.charset)
        except UnicodeDecodeError:
            raise bad_request(f"The text is not {self.charset.upper()}.") from None

    def form(self, raw: bytes) -> Pairs:
        """The fields of the form ``raw``; bad_request if it is none."""
        pairs = Pairs.parse(raw) if self.name == FORM else self._parts(raw)
        declared = pairs.get("_charset_")  # HTML, section 4.10.21.4; RFC 7578, section 4.6
        if declared is not None and CHARSETS.get(declared.strip().lower()) != "utf-8":
            raise NotSupported("Send forms in UTF-8.")
        return pairs

    def _parts(self, raw: bytes) -> Pairs:
        """The parts of a multipart form (RFC 7578). Linear in the size of ``raw``; parts that hold
        parts of their own are refused."""
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
    """What has come of a body. ``limit`` is in bytes; ``begin`` is called when the first who wants
    the body has to wait for it."""

    limit: int
    begin: Callable[[], None]
    _pieces: list[bytes] = field(factory=list, init=False)
    _size: int = field(default=0, init=False)
    _complete: bool = field(default=False, init=False)
    _unwanted: bool = field(default=False, init=False)
    _waiting: Deferred[None] | None = field(default=None, init=False)

    def add(self, data: bytes) -> None:
        """A piece has come."""
        self._size += len(data)
        if self._unwanted:
            return
        if self._size > self.limit:
            self.discard()
            self._wake()
        else:
            self._pieces.append(data)

    def complete(self) -> None:
        """All has come."""
        self._complete = True
        self._wake()

    def discard(self) -> None:
        """Keep nothing of it, and of what is still to come."""
        self._unwanted = True
        self._pieces.clear()

    def lost(self) -> None:
        """The client has hung up: whoever waits is cancelled."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def whole(self) -> bytes:
        """All of it, once it has come. `ChatError` too_large for what is longer than allowed."""
        if not self._complete and self._size <= self.limit:
            self.begin()
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
    """What to say of a body that is longer than ``limit`` bytes."""
    return ChatError(Code.TOO_LARGE, f"A body is at most {limit} bytes.")
